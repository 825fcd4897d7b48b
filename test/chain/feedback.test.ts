/** What people say of alerts holds from its place in the log on, for a live run, a restart and a replay alike. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BatchView } from '../../engine/batch/batch-view.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import { ENTRY_ALERT, type EntrySink } from '../../engine/contract/entries.ts'
import type { FeedbackRow, FeedbackSource } from '../../engine/contract/feedback.ts'
import { RECORD_FEEDBACK, RECORD_SAMPLES, RECORD_TICK } from '../../engine/contract/samples.ts'
import { Chain, type StatePage } from '../../engine/pipeline/chain.ts'
import { replayPartition } from '../../engine/pipeline/replay.ts'
import { encodeSeriesKey } from '../../engine/series/series-key.ts'
import { Prng } from '../../engine/util/prng.ts'
import { ExchangeRun, MemoryLog } from './exchange-run.ts'
import { logOf, trafficArbitrary } from './exchange-traffic.ts'
import { planOf, registry } from './fixtures.ts'

const plan = {
  ...planOf({ sizeMs: 1_000, aggregates: ['mean'], surge: 'mean', groupBy: ['host'] }),
  topic: { name: 'metrics', partitions: 1, partitionBy: ['host'] },
}

class Told implements EntrySink {
  readonly texts: string[] = []
  readonly alerts: Alert[] = []

  group(groupId: number, key: Uint8Array): void {
    this.texts.push(`group ${groupId} ${Buffer.from(key).toString('hex')}`)
  }

  entry(kind: number, seq: number, cause: number, timeMs: number, bytes: Uint8Array, length: number): void {
    const told = Buffer.from(bytes.subarray(0, length))
    this.texts.push(`${kind} ${seq} ${cause} ${timeMs} ${told.toString('base64')}`)
    if (kind === ENTRY_ALERT) this.alerts.push(JSON.parse(told.toString()) as Alert)
  }

  get firing(): string[] {
    return this.alerts
      .filter(({ state }) => state === 'firing')
      .map((one) => `${one.group.host} ${one.sinceMs}`)
  }
}

class Feeder {
  readonly log = new MemoryLog(1)
  #logMs = 100_000

  value(host: string, atMs: number, value: number): this {
    const samples = [{ labels: { __name__: 'm', host }, timestampMs: atMs, value }]
    this.log.append({ partition: 0, logMs: this.#logMs++, kind: RECORD_SAMPLES, samples })
    return this
  }

  say(host: string, after: number, other: Partial<FeedbackRow> = {}): this {
    const about = { pipeline: plan.name, topic: 'metrics', detector: 'surge', group: { host }, after }
    const record = { partition: 0, logMs: this.#logMs++, kind: RECORD_FEEDBACK, samples: [] }
    this.log.append({ ...record, says: { ...about, ...other } })
    return this
  }

  tick(): this {
    this.log.append({ partition: 0, logMs: this.#logMs++, kind: RECORD_TICK, samples: [] })
    return this
  }
}

function chainOf(log: MemoryLog, sink: EntrySink, startOffset = 0, feedback?: FeedbackSource): Chain {
  return new Chain({
    plan,
    registry,
    partition: 0,
    keyOf: (seriesId) => encodeSeriesKey(log.labels[seriesId]!),
    sink,
    startOffset,
    feedback: feedback ?? { rows: () => log.feedback },
  })
}

function viewOf(bytes: Uint8Array): BatchView {
  return new BatchView(bytes.buffer as ArrayBuffer).point(0)
}

function run(log: MemoryLog, startOffset = 0): Told {
  const told = new Told()
  const chain = chainOf(log, told, startOffset)
  for (const bytes of log.partitions[0]!.records) {
    if (viewOf(bytes).baseOffset >= startOffset) chain.process(viewOf(bytes))
  }
  return told
}

/** One spike of 40 among values of 10 that come every second; its score is 40 / 30. */
function spikes(feeder: Feeder, host: string, fromMs: number): Feeder {
  feeder
    .value(host, fromMs, 10)
    .value(host, fromMs + 1_000, 10)
    .value(host, fromMs + 2_000, 40)
  for (let i = 3; i < 12; i++) feeder.value(host, fromMs + i * 1_000, 10)
  return feeder
}

describe('what was said of a group', () => {
  test('holds for what the log holds behind it, and for that group alone', () => {
    const feeder = spikes(spikes(new Feeder(), 'a', 0), 'b', 12_000)
    expect(run(feeder.log).firing).toEqual(['a 3000', 'b 15000'])
    feeder.say('a', 1.4)
    spikes(spikes(feeder, 'a', 24_000), 'b', 36_000)
    expect(run(feeder.log).firing).toEqual(['a 3000', 'b 15000', 'b 39000'])
    spikes(feeder.say('a', 1), 'a', 48_000)
    expect(run(feeder.log).firing).toEqual(['a 3000', 'b 15000', 'b 39000', 'a 51000'])
  })

  test('changes neither what was told before it nor what the detector learns', () => {
    const before = spikes(new Feeder(), 'a', 0)
    const plain = run(before.log).texts
    const after = spikes(spikes(new Feeder(), 'a', 0).say('a', 8), 'a', 12_000)
    expect(run(after.log).texts.slice(0, plain.length)).toEqual(plain)
    const pagesOf = (feeder: Feeder): Map<string, string> => {
      const chain = chainOf(feeder.log, new Told())
      for (const bytes of feeder.log.partitions[0]!.records) chain.process(viewOf(bytes))
      const pages = new Map<string, string>()
      chain.snapshot((region, index, cells) =>
        pages.set(`${region}/${index}`, Buffer.from(cells.buffer).toString('hex')),
      )
      return pages
    }
    // It said so after the last alert was over: all cells are as if nobody had.
    const quiet = pagesOf(spikes(new Feeder(), 'a', 0).tick())
    expect(pagesOf(spikes(new Feeder(), 'a', 0).say('a', 8))).toEqual(quiet)
    // And a state of before is one that it can go on from: it has no region of its own.
    expect(
      [...quiet.keys()].every((place) => Number(place.split('/')[0]) < 5 || place.startsWith('655')),
    ).toBe(true)
  })

  test('of a group that comes only later, it waits for it', () => {
    const feeder = spikes(new Feeder().say('a', 1.4), 'a', 0)
    expect(run(feeder.log).firing).toEqual([])
    expect(run(spikes(new Feeder().say('b', 1.4), 'a', 0).log).firing).toEqual(['a 3000'])
  })

  test('of another pipeline, topic, partition or detector, it changes nothing', () => {
    for (const other of [{ pipeline: 'x' }, { topic: 'x' }, { detector: 'x' }, { detector: 'quiet' }]) {
      expect(run(spikes(new Feeder().say('a', 8, other), 'a', 0).log).firing).toEqual(['a 3000'])
    }
    const feeder = spikes(new Feeder().tick().tick(), 'a', 0)
    feeder.log.feedback.push({ ...spikes(new Feeder().say('a', 8), 'a', 0).log.feedback[0]!, partition: 1 })
    expect(run(feeder.log, 2).firing).toEqual(['a 3000'])
  })

  test('is known to a pipeline that begins behind it, whatever retention has deleted', () => {
    const feeder = new Feeder().say('a', 1.4)
    expect(run(spikes(feeder, 'a', 0).log, 1).firing).toEqual([])
  })

  test('ends an alert that fires when the deviation does not alert any more', () => {
    const states = (says: (feeder: Feeder) => Feeder): (string | number)[][] => {
      const feeder = new Feeder()
      for (const [i, value] of [10, 10, 40, 130, 400].entries()) feeder.value('a', i * 1_000, value)
      const { log } = says(feeder).value('a', 5_000, 1_250).value('a', 6_000, 4_000)
      return run(log).alerts.map(({ state, atMs }) => [state, atMs])
    }
    expect(states((feeder) => feeder)).toEqual([['firing', 3_000]])
    expect(states((feeder) => feeder.say('a', 8))).toEqual([
      ['firing', 3_000],
      ['resolved', 5_000],
    ])
  })

  test('is heard of even where its record is skipped, as a restart would hear of it', () => {
    const feeder = new Feeder().value('a', 0, 10)
    spikes(feeder.say('a', 1.4), 'a', 1_000)
    const told = new Told()
    const chain = chainOf(feeder.log, told)
    for (const bytes of feeder.log.partitions[0]!.records) {
      const view = viewOf(bytes)
      if (view.kind === RECORD_FEEDBACK) chain.skip(view)
      else chain.process(view)
    }
    expect(told.firing).toEqual([])
  })
})

const STEPS = fc.array(
  fc.oneof(
    fc.record({ host: fc.constantFrom('a', 'b', 'c'), value: fc.constantFrom(1, 5, 10, 25, 40, 100) }),
    fc.record({ host: fc.constantFrom('a', 'b', 'c'), after: fc.constantFrom(0.25, 0.5, 1, 1.4, 2, 8) }),
  ),
  { minLength: 1, maxLength: 60 },
)

function fed(steps: readonly ({ host: string } & ({ value: number } | { after: number }))[]): Feeder {
  const feeder = new Feeder()
  steps.forEach((step, i) => {
    if ('value' in step) feeder.value(step.host, i * 400, step.value)
    else feeder.say(step.host, step.after)
  })
  return feeder
}

describe('the same alerts', () => {
  test('for a run that is restarted at any record, whether rows are there early or not', () => {
    fc.assert(
      fc.property(STEPS, fc.integer({ min: 1 }), (steps, seed) => {
        const { log } = fed(steps)
        const whole = run(log).texts
        const prng = new Prng(seed)
        const told = new Told()
        // Rows that are there already must not be heard of before their place either.
        let there = prng.below(2) === 0 ? 0 : log.feedback.length
        const source = { rows: () => log.feedback.slice(0, there) }
        let chain = chainOf(log, told, 0, source)
        const pages = new Map<string, StatePage>()
        for (const bytes of log.partitions[0]!.records) {
          if (prng.below(3) === 0 && chain.position > 0) {
            const meta = chain.snapshot((region, index, cells) => {
              pages.set(`${region}/${index}`, { region, index, cells: cells.slice() })
            })
            chain = chainOf(log, told, 0, source)
            chain.restore(meta, pages.values())
          }
          const view = viewOf(bytes)
          if (view.kind === RECORD_FEEDBACK) there++
          chain.process(view)
        }
        expect(told.texts).toEqual(whole)
      }),
    )
  })

  test('for a replay, by reads of any size', () => {
    fc.assert(
      fc.property(STEPS, fc.integer({ min: 1, max: 5 }), (steps, recordsAScan) => {
        const { log } = fed(steps)
        const told = new Told()
        replayPartition({
          topicId: 0,
          range: { partition: 0, from: 0, to: log.partitions[0]!.endOffset },
          registry,
          pipelines: [{ plan, sink: told }],
          feedback: { rows: () => log.feedback },
          goesOn: () => true,
          log: {
            seriesKey: (_topic, seriesId) => encodeSeriesKey(log.labels[seriesId]!),
            scan(_topic, _partition, offset, _toOffset, into, visit) {
              const left = log.partitions[0]!.records.filter((bytes) => viewOf(bytes).baseOffset >= offset)
              for (const bytes of left.slice(0, recordsAScan)) {
                new Uint8Array(into).set(bytes)
                visit(bytes.length)
              }
              return viewOf(left.slice(0, recordsAScan).at(-1)!).endOffset
            },
          },
        })
        expect(told.texts).toEqual(run(log).texts)
      }),
    )
  })

  test('for owners of spread groups, in any order and over crashes; and it matters that they hear of it', () => {
    let differ = 0
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), fc.integer(), ({ plan: spread, records }, a, b) => {
        const of = (seed: number, crashes: number, heard: boolean): ExchangeRun => {
          const log = logOf(spread, records)
          if (!heard) log.feedback.length = 0
          return new ExchangeRun({ plan: spread, registry, log, seed, crashes }).finish()
        }
        const heard = of(a, 0, true)
        expect(of(b, 20, true).entries).toEqual(heard.entries)
        if (JSON.stringify(of(a, 0, false).alerts()) !== JSON.stringify(heard.alerts())) differ++
      }),
      { numRuns: 60 },
    )
    expect(differ).toBeGreaterThan(5)
  })

  test('for owners whose log begins behind what was said, and behind nothing', () => {
    let differ = 0
    fc.assert(
      fc.property(trafficArbitrary, ({ plan: spread, records }) => {
        const says = {
          pipeline: spread.name,
          topic: 'metrics',
          detector: 'surge',
          group: { region: 'r0' },
          after: 0.25,
        }
        const before = { partition: 0, logMs: 1, kind: RECORD_FEEDBACK, samples: [], says }
        const whole = logOf(spread, [before, ...records])
        const rest = logOf(spread, records)
        const plain = new ExchangeRun({
          plan: spread,
          registry,
          log: logOf(spread, records),
          seed: 1,
        }).finish()
        const { offset, ...row } = whole.feedback[0]!
        rest.feedback.unshift({ ...row, id: 0, offset: offset - 1 })
        const [a, b] = [whole, rest].map((log) => {
          return new ExchangeRun({ plan: spread, registry, log, seed: 1 }).finish().alerts()
        })
        expect(b).toEqual(a)
        if (JSON.stringify(b) !== JSON.stringify(plain.alerts())) differ++
      }),
      { numRuns: 40 },
    )
    expect(differ).toBeGreaterThan(3)
  })
})
