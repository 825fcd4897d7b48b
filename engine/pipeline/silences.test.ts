/** Silences as people write them: what is understood, what is refused and why, and for whom one holds. */
import { describe, expect, test } from 'vitest'
import type { Fault } from '../contract/errors.ts'
import { SILENCE_MS_MAX, type Silence } from '../contract/silences.ts'
import { testAlert } from './memory-state.ts'
import { patternProblem, readSilence, silencedBy, silenceRows, silenceTest } from './silences.ts'

const NOW = Date.UTC(2026, 0, 31, 12)
const HOUR = 3_600_000
const KNOWN = {
  pipelines: [
    { name: 'cpu', detectors: ['mean-ewma', 'full'] },
    { name: 'disk', detectors: ['room'] },
  ],
}

function read(change: object) {
  const faults: Fault[] = []
  const spec = readSilence({ comment: 'new switch', ...change }, { nowMs: NOW, known: KNOWN, faults })
  return { spec, faults: faults.map(({ place, problem }) => `${place} ${problem}`) }
}

function silence(change: Partial<Silence> & { written?: object } = {}): Silence {
  const { spec } = read({ match: ['host=a'], for: '1h', ...change.written })
  return { id: 1, ...spec!, madeMs: NOW, endedMs: null, ...change }
}

test('conditions, names and times are read; a value may stand in quotes, and name is the name of the metric', () => {
  expect(read({ match: ['rack=r7', 'host=~web-.*', 'name="cpu load"', 'dc!=a'], for: '2h' })).toEqual({
    faults: [],
    spec: {
      match: [
        { label: 'rack', op: '=', value: 'r7' },
        { label: 'host', op: '=~', value: 'web-.*' },
        { label: '__name__', op: '=', value: 'cpu load' },
        { label: 'dc', op: '!=', value: 'a' },
      ],
      pipeline: null,
      detector: null,
      severity: null,
      fromMs: NOW,
      untilMs: NOW + 2 * HOUR,
      comment: 'new switch',
    },
  })
  const until = new Date(NOW + 3 * HOUR).toISOString()
  expect(read({ pipeline: 'cpu', severity: 'info', from: NOW + HOUR, until }).spec).toMatchObject({
    match: [],
    pipeline: 'cpu',
    severity: 'info',
    fromMs: NOW + HOUR,
    untilMs: NOW + 3 * HOUR,
  })
})

test.each([
  [{ for: '1h' }, 'match leaves out no alert'],
  [{ match: ['rack!=r7'], for: '1h' }, 'match leaves out no alert'],
  [{ match: ['rack=~.*'], severity: 'info', for: '1h' }, 'match leaves out no alert'],
  [{ match: ['rack'], for: '1h' }, 'match[0] is not a condition'],
  [{ match: ['=r7'], for: '1h' }, 'match[0] is not a condition'],
  [{ match: ['rack="r7'], for: '1h' }, 'match[0] has a quote that does not close'],
  [{ match: ['rack=~['], for: '1h' }, 'match[0] does not compile: '],
  [{ match: Array.from({ length: 17 }, (_, i) => `l${i}=a`), for: '1h' }, 'match are too many conditions'],
  [{ match: 7, for: '1h' }, 'match is not a list of conditions'],
  [{ pipeline: 'cpus', for: '1h' }, 'pipeline is not known here'],
  [{ pipeline: 'disk', detector: 'full', for: '1h' }, 'detector is not known here'],
  [{ match: ['a=b'], severity: 'bad', for: '1h' }, 'severity is not known here'],
  [{ match: ['a=b'] }, 'until is not said'],
  [{ match: ['a=b'], for: '1h', until: NOW + HOUR }, 'until is said twice'],
  [{ match: ['a=b'], for: '90' }, 'for has no unit'],
  [{ match: ['a=b'], for: '0' }, 'for is over already'],
  [{ match: ['a=b'], until: '-5m' }, 'until is over already'],
  [{ match: ['a=b'], until: 'six' }, 'until is not a time'],
  [{ match: ['a=b'], from: NOW + 2 * HOUR, until: NOW + HOUR }, 'until is not after its beginning'],
  [{ match: ['a=b'], until: NOW + SILENCE_MS_MAX + 1 }, 'until is too far away'],
  [{ match: ['a=b'], for: '1h', comment: ' ' }, 'comment is missing'],
  [{ match: ['a=b'], for: '1h', comment: 'x'.repeat(1_001) }, 'comment is longer than 1000 characters'],
  [{ matches: ['a=b'], for: '1h', pipeline: 'cpu' }, 'matches is not known here'],
])('%j is refused: %s', (change, fault) => {
  const { spec, faults } = read(change)
  expect(spec).toBeNull()
  expect(faults).toHaveLength(1)
  expect(faults[0]).toContain(fault)
})

test('what is no object is refused, and faults are told all at once', () => {
  const faults: Fault[] = []
  for (const written of [null, 7, 'rack=r7', []])
    expect(readSilence(written, { nowMs: NOW, known: KNOWN, faults })).toBeNull()
  expect(faults).toHaveLength(4)
  expect(read({ match: ['x'], for: 'y', comment: '' }).faults).toHaveLength(3)
})

describe('patterns', () => {
  test.each(['web-.*', 'web-[ab]|db-[0-9]+', 'colou?r', '[*+?(]x', '\\(a\\)\\*', 'a|b|c|d', '.*mid.*'])(
    '%s may be asked of each transition',
    (source) => expect(patternProblem(source)).toBeNull(),
  )

  test.each([
    '(a+)+',
    '(a|a)(a|a)',
    '(?=a)b',
    '[a](b)',
    '.*.*.*x',
    'a?a?a?aaa',
    '\\1',
    'a{2}b{3}c{4}',
    'a*|b*|c*|d*|e*|f*|g*|h*|i*',
  ])('%s may not: it could hold up the thread that commits', (source) =>
    expect(patternProblem(source)).not.toBeNull(),
  )

  test('those that may be asked answer at once, whatever they are asked', () => {
    const text = 'a'.repeat(4_096)
    for (const source of ['a*a*b', 'a+a+b|a*a*c', '.*.*x']) {
      expect(patternProblem(source)).toBeNull()
      const test = silenceTest(silence({ written: { match: [`host=~${source}`] } }))
      const startedMs = performance.now()
      expect(test(testAlert({ group: { host: text } }))).toBe(false)
      expect(performance.now() - startedMs).toBeLessThan(2_000)
    }
  })
})

test('all conditions hold together, of pipeline, detector, severity and labels; a missing label is an empty one', () => {
  const holds = (written: object, alert = testAlert()) => silenceTest(silence({ written }))(alert)
  expect(holds({})).toBe(true)
  expect(holds({ match: ['host=b'] })).toBe(false)
  expect(holds({ match: ['host=a', 'rack!=r7'] })).toBe(true)
  expect(holds({ match: ['host=a', 'rack=~.+'] })).toBe(false)
  expect(holds({ pipeline: 'cpu', detector: 'mean-ewma', severity: 'warning' })).toBe(true)
  expect(holds({ pipeline: 'disk' })).toBe(false)
  expect(holds({ detector: 'full' })).toBe(false)
  expect(holds({ severity: 'critical' })).toBe(false)
})

test('of several that hold, the one that ends last is named', () => {
  const held = [silence({ id: 1 }), silence({ id: 2, untilMs: NOW + 9 * HOUR }), silence({ id: 3 })]
  const active = held.map((one) => ({ silence: one, holds: silenceTest(one) }))
  expect(silencedBy(active, testAlert())).toBe(2)
  expect(silencedBy(active, testAlert({ group: { host: 'b' } }))).toBeNull()
})

test('they are listed as they stand: active, to come, over', () => {
  const rows = silenceRows(
    [
      silence({ id: 1, endedMs: NOW - 1 }),
      silence({ id: 2, fromMs: NOW + 1 }),
      silence({ id: 3, untilMs: NOW }),
      silence({ id: 4, untilMs: NOW + 2 * HOUR }),
      silence({ id: 5 }),
    ],
    NOW,
  )
  expect(rows.map(({ id, state }) => `${id} ${state}`)).toEqual([
    '5 active',
    '4 active',
    '2 pending',
    '3 expired',
    '1 expired',
  ])
  expect(rows[0]!.match).toEqual(['host="a"'])
})
