import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { MillraceError } from '../contract/errors.ts'
import type { SinkPlan } from '../contract/plan.ts'
import type { Sink, SinkContext, SinkPlugin, SinkProgress, SinkRecord } from '../contract/plugins.ts'
import { MemoryState, testAlert, testPlan } from './memory-state.ts'
import { type OutboxOptions, OutboxRunner } from './outbox.ts'
import { SINK_DEAD_IN_A_ROW_MAX, SINK_TRIES } from './sink-feeder.ts'

const PARTITIONS = 3
const running: OutboxRunner[] = []

afterEach(async () => {
  for (const outbox of running.splice(0)) await outbox.stop()
})

/** A target in memory: what it holds, and what its sink does on the next calls. */
class Target {
  readonly received: SinkRecord[] = []
  readonly batchSizes: number[] = []
  opened = 0
  closed = 0
  /** Errors of the next calls, first to last; null: this one succeeds. */
  failures: (unknown | null)[] = []
  context: SinkContext | null = null
  onSend: (records: readonly SinkRecord[]) => Promise<void> = async () => {}

  ids(): string[] {
    return this.received.map(({ id }) => id)
  }

  wholeEntries = false

  plugin(kind: string): SinkPlugin<never> {
    return {
      kind,
      ...(this.wholeEntries ? { wholeEntries: true } : {}),
      summary: 'memory',
      guarantee: 'at-least-once',
      options: { help: [], parse: () => undefined },
      open: async (_options, context) => {
        this.opened++
        this.context = context
        return this.#sink()
      },
    }
  }

  #sink(): Sink {
    return {
      guarantee: 'at-least-once',
      send: async (records) => {
        const failure = this.failures.shift() ?? null
        if (failure !== null) throw failure
        await this.onSend(records)
        this.received.push(...records)
        this.batchSizes.push(records.length)
      },
      close: async () => {
        this.closed++
      },
    }
  }
}

function sinkPlan(name: string, feed: SinkPlan['feed']): SinkPlan {
  return { name, kind: name, options: {}, feed }
}

function storeFor(...sinks: SinkPlan[]): MemoryState {
  return new MemoryState(testPlan({ sinks }))
}

interface Setup {
  readonly outbox: OutboxRunner
  readonly warnings: string[]
}

function outboxOver(
  state: MemoryState,
  targets: Readonly<Record<string, Target>>,
  change: Partial<OutboxOptions> = {},
): Setup {
  const warnings: string[] = []
  const outbox = new OutboxRunner({
    pipelines: [{ id: 1, plan: state.plan }],
    sinks: new Map(Object.entries(targets).map(([kind, target]) => [kind, target.plugin(kind)])),
    state,
    seriesKey: (_topic, id) => state.seriesKeys[id] ?? null,
    remember: async (_id, sink, progress) => state.remember(sink, progress),
    warn: (error) => warnings.push(error.message),
    sleep: async () => {},
    ...change,
  })
  running.push(outbox)
  return { outbox, warnings }
}

function commitWindow(state: MemoryState, partition: number, endMs: number, hosts: readonly string[]): void {
  const rows = hosts.map((host) => ({ group: { host }, cells: [1, 2, 3, 4, 5, 6] }))
  state.results(partition, endMs - 1_000, endMs, rows)
}

function remembered(state: MemoryState, sink: string): SinkProgress {
  return JSON.parse(state.sink(1, sink)!)
}

test('each sink gets the feed it wants, every record once, in the order of each partition', async () => {
  const state = storeFor(sinkPlan('rows', 'results'), sinkPlan('alarms', 'alerts'), sinkPlan('rest', 'late'))
  for (let i = 1; i <= 5; i++) {
    commitWindow(state, i % PARTITIONS, i * 1_000, ['a', 'b'])
    state.alert(i % PARTITIONS, testAlert({ atMs: i }))
    state.late(i % PARTITIONS, [{ series: { host: 'a' }, timestampMs: i, value: i }])
  }
  const targets = { rows: new Target(), alarms: new Target(), rest: new Target() }
  const { outbox } = outboxOver(state, targets)
  await outbox.start()
  await outbox.drained()
  expect(targets.rows.ids().sort()).toEqual(
    ['0/0/0', '0/0/1', '1/0/0', '1/0/1', '1/3/0', '1/3/1', '2/0/0', '2/0/1', '2/3/0', '2/3/1'].map(
      (id) => `cpu/${id}`,
    ),
  )
  expect(targets.alarms.ids().sort()).toEqual([
    'cpu/0/1/0',
    'cpu/1/1/0',
    'cpu/1/4/0',
    'cpu/2/1/0',
    'cpu/2/4/0',
  ])
  expect(targets.rest.ids().sort()).toEqual(['cpu/0/2/0', 'cpu/1/2/0', 'cpu/1/5/0', 'cpu/2/2/0', 'cpu/2/5/0'])
  expect(targets.alarms.received.filter(({ partition }) => partition === 1).map(({ seq }) => seq)).toEqual([
    1, 4,
  ])
})

test('what is committed later is handed over after the nudge', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  const target = new Target()
  const { outbox } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(target.ids()).toEqual([])
  commitWindow(state, 1, 1_000, ['a'])
  outbox.committed(1)
  await expect.poll(() => target.ids()).toEqual(['cpu/1/0/0'])
})

test('a large entry is cut into bounded batches, and no partition starves another', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  const hosts = Array.from({ length: 2_500 }, (_, i) => `h${String(i).padStart(4, '0')}`)
  commitWindow(state, 0, 1_000, hosts)
  commitWindow(state, 0, 2_000, hosts)
  commitWindow(state, 2, 1_000, ['z'])
  const target = new Target()
  const { outbox } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(Math.max(...target.batchSizes)).toBe(1_000)
  expect(new Set(target.ids()).size).toBe(5_001)
  expect(target.received).toHaveLength(5_001)
  expect(target.ids().indexOf('cpu/2/0/0')).toBeLessThan(2_001)
  const ofZero = target.received.filter(({ partition }) => partition === 0)
  expect(ofZero.map(({ seq, row }) => seq * 10_000 + row)).toEqual(
    [...ofZero].map(({ seq, row }) => seq * 10_000 + row).sort((a, b) => a - b),
  )
})

test('progress is remembered before the first record, after delivery and on stop, never ahead of the sink', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  commitWindow(state, 0, 1_000, ['a', 'b'])
  const target = new Target()
  const seen: number[] = []
  target.onSend = async () => {
    seen.push(remembered(state, 'rows').positions[0]!.seq)
  }
  const { outbox } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(seen).toEqual([0])
  expect(remembered(state, 'rows').positions).toEqual({
    0: { seq: 1, row: 0 },
    1: { seq: 0, row: 0 },
    2: { seq: 0, row: 0 },
  })
  commitWindow(state, 1, 2_000, ['c'])
  outbox.committed(1)
  await expect.poll(() => target.received.length).toBe(3)
  await outbox.stop()
  expect(remembered(state, 'rows').positions[1]).toEqual({ seq: 1, row: 0 })
  expect(target.closed).toBe(1)
})

test('progress is remembered by itself within a moment of delivery', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  const target = new Target()
  const { outbox } = outboxOver(state, { rows: target })
  await outbox.start()
  commitWindow(state, 1, 1_000, ['a'])
  outbox.committed(1)
  await expect
    .poll(() => remembered(state, 'rows').positions[1], { timeout: 2_000 })
    .toEqual({ seq: 1, row: 0 })
})

test('a stop in the middle of a delivery does not count it: it comes again, with the same id', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  commitWindow(state, 0, 1_000, ['a'])
  const target = new Target()
  let began: () => void = () => {}
  const sending = new Promise<void>((resolve) => {
    began = resolve
  })
  target.onSend = () =>
    new Promise((_resolve, reject) => {
      target.context!.signal.addEventListener('abort', () => reject(new Error('aborted')))
      began()
    })
  const first = outboxOver(state, { rows: target })
  await first.outbox.start()
  await sending
  await first.outbox.stop()
  expect(remembered(state, 'rows').positions[0]).toEqual({ seq: 0, row: 0 })
  expect(first.outbox.status()[0]).toMatchObject({ state: 'stopped', delivered: 0, problem: null })
  expect(first.warnings).toEqual([])
  target.onSend = async () => {}
  const second = outboxOver(state, { rows: target })
  await second.outbox.start()
  await second.outbox.drained()
  expect(target.ids()).toEqual(['cpu/0/0/0'])
})

test('what was delivered before an aborted or failed delivery is remembered, and not one record more', async () => {
  for (const end of ['stop', 'failure'] as const) {
    const state = storeFor(sinkPlan('rows', 'results'))
    const target = new Target()
    const { outbox } = outboxOver(state, { rows: target })
    await outbox.start()
    commitWindow(state, 0, 1_000, ['a'])
    outbox.committed(1)
    await expect.poll(() => target.received.length).toBe(1)
    let fail: () => void = () => {}
    target.onSend = () =>
      new Promise((_resolve, reject) => {
        fail = () => reject(new MillraceError('SINK_FAILED', 'gone'))
      })
    commitWindow(state, 0, 2_000, ['a', 'b'])
    outbox.committed(1)
    await new Promise((resolve) => setTimeout(resolve, 5))
    const stopped = end === 'stop' ? outbox.stop() : outbox.drained()
    fail()
    await stopped
    await outbox.stop()
    expect(outbox.status()[0]?.state).toBe(end === 'stop' ? 'stopped' : 'failed')
    expect(remembered(state, 'rows').positions[0]).toEqual({ seq: 1, row: 0 })
  }
})

test('a retryable failure is tried again with the same records until it passes; others are not held back', async () => {
  const state = storeFor(sinkPlan('rows', 'results'), sinkPlan('other', 'results'))
  commitWindow(state, 0, 1_000, ['a', 'b'])
  const flaky = new Target()
  const other = new Target()
  flaky.failures = Array(7).fill(new MillraceError('SINK_FAILED', 'busy', { retryable: true }))
  const slept: number[] = []
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { outbox, warnings } = outboxOver(
    state,
    { rows: flaky, other },
    {
      sleep: async (ms) => {
        slept.push(ms)
        await held
      },
    },
  )
  await outbox.start()
  await expect.poll(() => other.received.length).toBe(2)
  await expect
    .poll(() => outbox.status()[0])
    .toMatchObject({ state: 'retrying', problem: 'busy', lagEntries: 1 })
  release()
  await outbox.drained()
  expect(flaky.ids()).toEqual(['cpu/0/0/0', 'cpu/0/0/1'])
  expect(outbox.status()[0]).toMatchObject({
    state: 'running',
    retries: 7,
    delivered: 2,
    problem: null,
    lagEntries: 0,
  })
  expect(slept).toHaveLength(7)
  expect(warnings).toEqual(['busy', 'busy', 'busy'])
})

test('any other failure stops that sink, loudly, and only that one', async () => {
  const state = storeFor(sinkPlan('rows', 'results'), sinkPlan('other', 'results'))
  commitWindow(state, 0, 1_000, ['a'])
  const bad = new Target()
  const other = new Target()
  bad.failures = [new MillraceError('SINK_FAILED', 'not my file')]
  const { outbox, warnings } = outboxOver(state, { rows: bad, other })
  await outbox.start()
  await outbox.drained()
  commitWindow(state, 0, 2_000, ['a'])
  outbox.committed(1)
  await outbox.drained()
  expect(other.received).toHaveLength(2)
  expect(bad.received).toHaveLength(0)
  expect(bad.closed).toBe(1)
  expect(outbox.status().map(({ state: now }) => now)).toEqual(['failed', 'running'])
  expect(warnings).toEqual(['not my file'])
  expect(remembered(state, 'rows').positions[0]).toEqual({ seq: 0, row: 0 })
})

test('a sink that throws over one record again and again is given the others, once, and that one is a dead letter', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  commitWindow(state, 0, 1_000, ['a', 'b', 'c', 'd'])
  const target = new Target()
  const tries: string[] = []
  target.onSend = async (records) => {
    tries.push(records.map(({ row }) => row).join())
    if (records.some(({ row }) => row === 2)) throw new TypeError('oops')
  }
  const { outbox, warnings } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(target.ids()).toEqual(['cpu/0/0/0', 'cpu/0/0/1', 'cpu/0/0/3'])
  expect(tries).toEqual([...Array(SINK_TRIES).fill('0,1,2,3'), '0', '1', ...Array(SINK_TRIES).fill('2'), '3'])
  expect(outbox.status()[0]).toMatchObject({ state: 'running', delivered: 3, deadLetters: 1, lagEntries: 0 })
  expect(warnings.at(-1)).toMatch(
    /^Sink cpu\/rows threw 3 times over record cpu\/0\/0\/2, .*TypeError: oops$/,
  )
  expect(remembered(state, 'rows').positions[0]).toEqual({ seq: 1, row: 0 })
})

test('a sink that throws over every record stops, and does not skip its way through them', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  commitWindow(
    state,
    0,
    1_000,
    Array.from({ length: 15 }, (_, i) => `h${i}`),
  )
  const target = new Target()
  target.onSend = () => Promise.reject(new TypeError('oops'))
  const { outbox } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(outbox.status()[0]).toMatchObject({ state: 'failed', deadLetters: SINK_DEAD_IN_A_ROW_MAX })
  expect(remembered(state, 'rows').positions[0]).toEqual({ seq: 0, row: 0 })
})

test('a transactional target has no gap: a sink that throws over a record again and again stops', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  commitWindow(state, 0, 1_000, ['a', 'b'])
  let writes = 0
  const plugin: SinkPlugin<never> = {
    kind: 'rows',
    summary: 'memory',
    guarantee: 'transactional',
    options: { help: [], parse: () => undefined },
    open: async () => ({
      guarantee: 'transactional',
      position: async (progress) => progress,
      write: async () => {
        writes++
        throw new TypeError('oops')
      },
      close: async () => {},
    }),
  }
  const { outbox } = outboxOver(state, {}, { sinks: new Map([['rows', plugin]]) })
  await outbox.start()
  await outbox.drained()
  expect(outbox.status()[0]).toMatchObject({ state: 'failed', deadLetters: 0 })
  expect(writes).toBe(SINK_TRIES)
  expect(remembered(state, 'rows').positions[0]).toEqual({ seq: 0, row: 0 })
})

test('a sink whose progress cannot be remembered is stopped rather than run ahead', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  const target = new Target()
  const { outbox, warnings } = outboxOver(
    state,
    { rows: target },
    {
      remember: () => Promise.reject(new MillraceError('STORE_IO', 'disk full')),
    },
  )
  await outbox.start()
  expect(outbox.status()[0]).toMatchObject({ state: 'failed', problem: 'disk full' })
  expect(warnings).toContain('disk full')
})

test('dead letters are logged and counted, and are not among the delivered', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  commitWindow(state, 0, 1_000, ['a', 'b', 'c'])
  const target = new Target()
  target.onSend = async () => target.context!.deadLetter(2, new MillraceError('SINK_FAILED', 'refused'))
  const { outbox, warnings } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(outbox.status()[0]).toMatchObject({ delivered: 1, deadLetters: 2 })
  expect(warnings).toEqual(['refused'])
})

test('a new sink on an old pipeline starts at the oldest retained record', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  for (let i = 1; i <= 4; i++) commitWindow(state, 0, i * 1_000, ['a'])
  state.retire(0, 2)
  const target = new Target()
  const { outbox, warnings } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(target.ids()).toEqual(['cpu/0/2/0', 'cpu/0/3/0'])
  expect(warnings).toEqual([])
})

test('what retention deleted before a known sink had it is named and counted, and the rest goes on', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  for (let i = 1; i <= 4; i++) commitWindow(state, 0, i * 1_000, ['a', 'b'])
  state.remember('rows', { positions: { 0: { seq: 0, row: 1 } }, token: null })
  state.retire(0, 3)
  const target = new Target()
  const { outbox, warnings } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(target.ids()).toEqual(['cpu/0/3/0', 'cpu/0/3/1'])
  expect(warnings).toHaveLength(1)
  expect(warnings[0]).toMatch(/misses entries \[0, 3\) of partition 0/)
  expect(outbox.status()[0]).toMatchObject({ lostEntries: 3 })
})

test('a damaged entry stops the sink and is named', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  commitWindow(state, 0, 1_000, ['a'])
  const entry = state.entries(1, 0, 0)[0]!
  state.replace(0, { ...entry, bytes: entry.bytes.slice(0, 30) })
  const { outbox, warnings } = outboxOver(state, { rows: new Target() })
  await outbox.start()
  await outbox.drained()
  expect(outbox.status()[0]?.state).toBe('failed')
  expect(warnings[0]).toMatch(/Entry cpu\/0\/0 of the result stream/)
})

test('a sink that asks for whole entries never gets a part of one', async () => {
  const state = storeFor(sinkPlan('rows', 'results'))
  const hosts = Array.from({ length: 23 }, (_, i) => `h${i}`)
  for (let i = 1; i <= 9; i++) commitWindow(state, i % PARTITIONS, i * 1_000, hosts)
  const target = new Target()
  target.wholeEntries = true
  const { outbox } = outboxOver(state, { rows: target })
  await outbox.start()
  await outbox.drained()
  expect(target.received).toHaveLength(9 * hosts.length)
  expect(target.batchSizes.filter((size) => size % hosts.length !== 0)).toEqual([])
})

test('entries of other feeds are passed over without a record, and their passing is remembered on stop', async () => {
  const state = storeFor(sinkPlan('alarms', 'alerts'))
  for (let i = 1; i <= 10_000; i++) commitWindow(state, 1, i * 1_000, ['a'])
  state.alert(1, testAlert())
  const target = new Target()
  const { outbox } = outboxOver(state, { alarms: target })
  await outbox.start()
  await outbox.drained()
  expect(target.ids()).toEqual(['cpu/1/10000/0'])
  expect(remembered(state, 'alarms').positions[1]).toEqual({ seq: 10_001, row: 0 })
})

test('stopped and started at any moment, commits in between: every record arrives, in order, and equal ids are equal', async () => {
  const step = fc.oneof(
    fc.record({
      what: fc.constant('commit' as const),
      partition: fc.nat(PARTITIONS - 1),
      rows: fc.integer({ min: 1, max: 5 }),
    }),
    fc.record({ what: fc.constant('restart' as const), forget: fc.boolean() }),
    fc.record({ what: fc.constant('fail' as const) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const state = storeFor(sinkPlan('rows', 'results'))
      const target = new Target()
      const wanted = new Set<string>()
      let forgetful = false
      const start = async (): Promise<OutboxRunner> => {
        const { outbox } = outboxOver(
          state,
          { rows: target },
          {
            remember: async (_id, sink, progress) => {
              if (!forgetful) state.remember(sink, progress)
            },
          },
        )
        await outbox.start()
        return outbox
      }
      let outbox = await start()
      let endMs = 0
      for (const each of steps) {
        if (each.what === 'commit') {
          endMs += 1_000
          const seq = state.progress(1, each.partition)?.nextSeq ?? 0
          for (let row = 0; row < each.rows; row++) wanted.add(`cpu/${each.partition}/${seq}/${row}`)
          commitWindow(state, each.partition, endMs, ['a', 'b', 'c', 'd', 'e'].slice(0, each.rows))
          outbox.committed(1)
        } else if (each.what === 'fail') {
          target.failures.push(new MillraceError('SINK_FAILED', 'busy', { retryable: true }))
        } else {
          // A crash is a stop whose last progress never reached the store.
          forgetful = each.forget
          await outbox.stop()
          forgetful = false
          outbox = await start()
        }
      }
      await outbox.drained()
      await outbox.stop()
      expect([...new Set(target.ids())].sort()).toEqual([...wanted].sort())
      const content = new Map<string, string>()
      for (const record of target.received) {
        const text = JSON.stringify(record)
        expect(content.get(record.id) ?? text).toBe(text)
        content.set(record.id, text)
      }
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const places = [...content.keys()]
          .map((id) => id.split('/').map(Number))
          .filter(([, at]) => at === partition)
          .map(([, , seq, row]) => seq! * 100 + row!)
        expect(places).toEqual([...places].sort((a, b) => a - b))
      }
    }),
    { numRuns: 60 },
  )
})

test('once a successor owns the store nothing more is sent, and the sink says why', async () => {
  let fence = 3
  const state = Object.assign(storeFor(sinkPlan('rows', 'results')), { fence: () => fence })
  const rows = new Target()
  const { outbox, warnings } = outboxOver(state, { rows })
  await outbox.start()
  commitWindow(state, 0, 1_000, ['a'])
  await outbox.drained()
  expect(rows.received).toHaveLength(1)
  fence = 4
  commitWindow(state, 0, 2_000, ['a'])
  await outbox.drained()
  expect(rows.received).toHaveLength(1)
  expect(outbox.status()[0]).toMatchObject({ state: 'failed' })
  expect(warnings.join()).toContain('taken over')
})

test('a target that takes its time gets small batches: what may come again after a crash is bounded in time', async () => {
  const state = storeFor(sinkPlan('slow', 'results'))
  for (let i = 1; i <= 600; i++) commitWindow(state, 0, i * 1_000, ['a'])
  const target = new Target()
  let nowMs = 0
  let unrememberedMs = 0
  let sinceMs = 0
  target.onSend = async (records) => {
    nowMs += records.length * 20
    unrememberedMs = Math.max(unrememberedMs, nowMs - sinceMs)
  }
  const { outbox } = outboxOver(
    state,
    { slow: target },
    {
      clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
      remember: async (_id, sink, progress) => {
        sinceMs = nowMs
        state.remember(sink, progress)
      },
    },
  )
  await outbox.start()
  await outbox.drained()
  expect(target.received).toHaveLength(600)
  // The pause of REMEMBER_MS, and a batch of about as long before it.
  expect(unrememberedMs).toBeLessThanOrEqual(2 * 320)
})
