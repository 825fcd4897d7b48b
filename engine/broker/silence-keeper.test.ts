/** What sinks are told while silences hold: keeper → store → cursor, over a real store, against a naive model. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, emptyLedger } from '../contract/entries.ts'
import type { SinkPositions, SinkRecord } from '../contract/plugins.ts'
import {
  SILENCE_KEPT_MS,
  SILENCES_LIVE_MAX,
  SILENCES_OVER_MAX,
  type SilenceSpec,
} from '../contract/silences.ts'
import { EntryDecoder } from '../pipeline/entry-decoder.ts'
import { testAlert, testPlan } from '../pipeline/memory-state.ts'
import { ResultCursor } from '../pipeline/result-cursor.ts'
import type { StateWriter } from '../store/state-contract.ts'
import { openStateWriter } from '../store/state-store.ts'
import { openStore, type Store } from '../store/store.ts'
import { SilenceKeeper } from './silence-keeper.ts'

const PLAN = testPlan()
const HOUR = 3_600_000

let dir: string
let store: Store
let state: StateWriter
let pipelineId: number

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-silences-'))
  store = await openStore({ dir })
  state = openStateWriter({ dir, fence: store.fence })
  pipelineId = newPipeline()
})

afterEach(async () => {
  await state.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

function newPipeline(): number {
  const { name, topic } = PLAN
  const record = { name, topicId: 0, topic: topic.name, planHash: 'h', planJson: JSON.stringify(PLAN) }
  return state.transaction((txn) => {
    const known = state.pipeline(name)
    return known === null ? txn.putPipeline(record).id : txn.reset(known.id).id
  })
}

/** A committer as far as silences go, by a clock that the test moves. */
class Bench {
  readonly pipelineId: number
  nowMs = 1_000_000
  keeper: SilenceKeeper
  readonly #nextSeqs = [0, 0, 0]

  constructor(id: number) {
    this.pipelineId = id
    this.keeper = new SilenceKeeper([id], state)
  }

  /** The process dies, and the next one starts from what is stored. */
  restart(): void {
    this.keeper = new SilenceKeeper([this.pipelineId], state)
  }

  step(): void {
    if (!this.keeper.isDue(this.nowMs)) return
    state.transaction((txn) =>
      this.keeper.advance(txn, this.nowMs, (_, partition) => this.#nextSeqs[partition]!),
    )
  }

  commit(partition: number, alert: Alert): void {
    this.step()
    const seq = this.#nextSeqs[partition]!
    const bytes = Buffer.from(JSON.stringify(alert))
    state.transaction((txn) => {
      txn.putEntry(this.pipelineId, partition, seq, ENTRY_ALERT, 0, alert.atMs, bytes)
      if (alert.state === 'resolved') txn.removeAlert(this.pipelineId, alert.id)
      else txn.putAlert(this.pipelineId, alert.id, bytes.toString())
      this.keeper.committed(txn, this.pipelineId, partition, seq, alert)
      txn.putProgress(this.pipelineId, partition, { position: seq, nextSeq: seq + 1, ledger: emptyLedger() })
    })
    this.#nextSeqs[partition] = seq + 1
  }

  silence(spec: Partial<SilenceSpec> = {}): number {
    const whole: SilenceSpec = {
      match: [{ label: 'host', op: '=', value: 'a' }],
      pipeline: null,
      detector: null,
      severity: null,
      fromMs: this.nowMs,
      untilMs: this.nowMs + HOUR,
      comment: 'a test',
      ...spec,
    }
    const made = state.transaction((txn) => this.keeper.make(txn, whole, this.nowMs))
    if (typeof made === 'string') throw new Error(made)
    this.step()
    return made.id
  }

  end(id: number): void {
    state.transaction((txn) => this.keeper.end(txn, id, this.nowMs))
    this.step()
  }

  passes(ms: number): void {
    this.nowMs += ms
    this.step()
  }

  cursor(): ResultCursor {
    const labels = { group: () => ({}), series: () => ({}) }
    return new ResultCursor({
      reader: state,
      decoder: new EntryDecoder(PLAN, labels),
      pipelineId: this.pipelineId,
      partitions: PLAN.topic.partitions,
      feed: 'alerts',
      onLost: () => {},
    })
  }

  /** All that a sink is told from the beginning on. */
  told(recordsMax = 1_000): SinkRecord[] {
    const cursor = this.cursor()
    const records: SinkRecord[] = []
    for (let more = true; more; ) {
      const read = cursor.read(recordsMax)
      records.push(...read.records)
      more = read.more
    }
    return records
  }
}

function alertOf(change: Partial<Alert> = {}): Alert {
  const group = change.group ?? { host: 'a' }
  return testAlert({ id: `cpu/mean-ewma/0/${group.host}/1`, group, ...change })
}

const words = (records: readonly SinkRecord[]): string[] =>
  records.map(({ body }) => {
    const { state: at, severity } = body as Alert
    return `${at} ${severity}`
  })

test('what is silenced is not told, neither its beginning nor its end, and stays in the log', () => {
  const bench = new Bench(pipelineId)
  bench.silence()
  bench.commit(0, alertOf())
  bench.commit(0, alertOf({ state: 'resolved' }))
  bench.commit(0, alertOf({ group: { host: 'b' } }))
  expect(bench.told().map(({ id }) => id)).toEqual(['cpu/0/2/0'])
  expect(state.entries(pipelineId, 0, 0)).toHaveLength(3)
  expect(state.withheld(pipelineId, 0, 0, 9)).toEqual([
    { seq: 0, silence: 1 },
    { seq: 1, silence: 1 },
  ])
})

test('an alert that still stands when its silence is over is told then, once, under the id of its entry', () => {
  const bench = new Bench(pipelineId)
  bench.silence()
  bench.commit(0, alertOf({ state: 'pending' }))
  bench.commit(0, alertOf())
  bench.passes(HOUR - 1)
  expect(bench.told()).toEqual([])
  bench.passes(1)
  expect(bench.told().map(({ id, seq, row }) => [id, seq, row])).toEqual([['cpu/0/1/0', 2, 0]])
  bench.commit(0, alertOf({ state: 'resolved' }))
  expect(words(bench.told())).toEqual(['firing warning', 'resolved warning'])
  expect(bench.told().map(({ seq, row }) => [seq, row])).toEqual([
    [2, 0],
    [2, 1],
  ])
  bench.passes(HOUR)
  expect(bench.told()).toHaveLength(2)
})

test('... also when a person ends it early, and when the process was down at its end', () => {
  const bench = new Bench(pipelineId)
  const id = bench.silence()
  bench.commit(0, alertOf())
  bench.end(id)
  expect(words(bench.told())).toEqual(['firing warning'])
  bench.silence({ match: [{ label: 'host', op: '=', value: 'b' }] })
  bench.commit(0, alertOf({ group: { host: 'b' } }))
  bench.nowMs += HOUR
  bench.restart()
  bench.step()
  expect(words(bench.told())).toEqual(['firing warning', 'firing warning'])
})

test('... and when it died between the end of the silence and the word of it', () => {
  const bench = new Bench(pipelineId)
  const id = bench.silence()
  bench.commit(0, alertOf())
  state.transaction((txn) => bench.keeper.end(txn, id, bench.nowMs))
  bench.restart()
  bench.step()
  expect(words(bench.told())).toEqual(['firing warning'])
  // At the end of the stream, too, a target that is verified is held to it.
  expect([...bench.cursor().from({ 0: { seq: 0, row: 0 } })]).toEqual(bench.told())
  expect([...bench.cursor().from({ 0: { seq: 1, row: 1 } })]).toEqual([])
})

test('the end of an alert that was told before is told, silence or not; what became worse meanwhile is not', () => {
  const bench = new Bench(pipelineId)
  bench.commit(0, alertOf())
  bench.silence()
  bench.commit(0, alertOf({ severity: 'critical' }))
  bench.restart()
  bench.commit(0, alertOf({ state: 'resolved', severity: 'critical' }))
  expect(words(bench.told())).toEqual(['firing warning', 'resolved critical'])
})

test('of two silences over one alert the other still holds when one ends', () => {
  const bench = new Bench(pipelineId)
  const first = bench.silence()
  const second = bench.silence({ untilMs: bench.nowMs + HOUR / 2 })
  bench.commit(0, alertOf())
  bench.end(first)
  expect(bench.told()).toEqual([])
  expect(state.unheard(pipelineId)[0]!.silence).toBe(second)
  bench.end(second)
  expect(bench.told()).toHaveLength(1)
})

test('one that is to come holds nothing back yet, and a clock that is set back begins none anew', () => {
  const bench = new Bench(pipelineId)
  bench.silence({ fromMs: bench.nowMs + 1_000, untilMs: bench.nowMs + 2_000 })
  bench.commit(0, alertOf())
  bench.passes(1_000)
  bench.commit(0, alertOf({ group: { host: 'a', cpu: '1' }, id: 'other' }))
  expect(bench.told()).toHaveLength(1)
  bench.passes(1_000)
  expect(bench.told()).toHaveLength(2)
  bench.nowMs -= 1_500
  bench.restart()
  bench.step()
  bench.commit(0, alertOf({ group: { host: 'a', cpu: '2' }, id: 'third' }))
  expect(bench.told()).toHaveLength(3)
})

test('one that is ended when its time is over, and that is not written down yet, ends at its time and for good', () => {
  const bench = new Bench(pipelineId)
  const id = bench.silence({ untilMs: bench.nowMs + 1_000 })
  bench.nowMs += 5_000
  const ended = state.transaction((txn) => bench.keeper.end(txn, id, bench.nowMs))
  expect(ended).toMatchObject({ id, endedMs: bench.nowMs - 4_000 })
  bench.nowMs -= 4_500
  bench.restart()
  bench.step()
  expect(bench.keeper.activeCount).toBe(0)
})

test('silences are bounded; those that are over are forgotten after their time, and their numbers are not given again', () => {
  const bench = new Bench(pipelineId)
  for (let i = 0; i < SILENCES_LIVE_MAX; i++) bench.silence()
  expect(() => bench.silence()).toThrow(/100 silences are active/)
  bench.end(1)
  expect(bench.silence()).toBe(SILENCES_LIVE_MAX + 1)
  bench.passes(HOUR)
  expect(bench.keeper.activeCount).toBe(0)
  expect(state.silences()).toHaveLength(SILENCES_LIVE_MAX + 1)
  bench.passes(SILENCE_KEPT_MS)
  expect(state.silences()).toEqual([])
  bench.restart()
  expect(bench.silence()).toBe(SILENCES_LIVE_MAX + 2)
  for (let i = 0; i < SILENCES_OVER_MAX + 5; i++) bench.end(bench.silence())
  expect(state.silences().filter(({ endedMs }) => endedMs !== null)).toHaveLength(SILENCES_OVER_MAX)
})

test('retention takes what silences did with the entries they did it to', () => {
  const bench = new Bench(pipelineId)
  const id = bench.silence()
  bench.commit(0, alertOf())
  bench.end(id)
  bench.commit(0, alertOf({ state: 'resolved' }))
  bench.silence()
  bench.commit(0, alertOf({ sinceMs: 2, id: 'next' }))
  const kept = { pipelineId, partition: 0, beforeMs: Infinity, countMax: Infinity }
  state.retainEntries({ ...kept, lowWaterSeq: 2 })
  expect(state.withheld(pipelineId, 0, 0, 9).map(({ seq }) => seq)).toEqual([2])
  expect(state.retold(pipelineId, 0, 0, 9)).toEqual([])
})

const HOSTS = ['a', 'b', 'c']
type Step =
  | { readonly do: 'alert'; readonly host: number; readonly how: number }
  | { readonly do: 'silence'; readonly hosts: number; readonly inMs: number; readonly lastsMs: number }
  | { readonly do: 'end'; readonly which: number }
  | { readonly do: 'time'; readonly ms: number }
  | { readonly do: 'restart' }
  | { readonly do: 'read'; readonly recordsMax: number; readonly forgets: boolean }

const STEP: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('alert' as const), host: fc.nat(2), how: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('silence' as const),
      hosts: fc.integer({ min: 1, max: 7 }),
      inMs: fc.constantFrom(0, 0, 3),
      lastsMs: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const), which: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      recordsMax: fc.integer({ min: 1, max: 3 }),
      forgets: fc.boolean(),
    }),
  },
)

/** What one group's alert has gone through, and what of it a person heard. */
interface Life {
  number: number
  state: Alert['state'] | null
  severity: Alert['severity']
  heardAny: boolean
  heardNewest: boolean
}

test('a model: every sink hears the same, whatever restarts, rewinds and batches come between', () => {
  fc.assert(
    fc.property(fc.array(STEP, { maxLength: 60 }), (steps) => {
      const bench = new Bench(newPipeline())
      const first = state.transaction((txn) => txn.takeSilenceId()) + 1
      const silences: { hosts: number; fromMs: number; untilMs: number; isOver: boolean }[] = []
      const lives = HOSTS.map(
        (): Life => ({ number: 0, state: null, severity: 'warning', heardAny: false, heardNewest: false }),
      )
      const heard: string[][] = HOSTS.map(() => [])
      const say = (host: number): void => {
        const life = lives[host]!
        heard[host]!.push(`${life.number} ${life.state} ${life.severity}`)
        life.heardAny = true
        life.heardNewest = true
      }
      const isSilent = (host: number): boolean =>
        silences.some(
          ({ hosts, fromMs, untilMs, isOver }) =>
            !isOver && (hosts & (1 << host)) !== 0 && fromMs <= bench.nowMs && bench.nowMs < untilMs,
        )
      const tellLate = (): void => {
        lives.forEach((life, host) => {
          if (life.state !== null && !life.heardNewest && !isSilent(host)) say(host)
        })
      }
      let sink = bench.cursor()
      let remembered: SinkPositions = bench.cursor().positions()
      const seen = new Map<string, string>()
      const taken: SinkRecord[] = []
      let isKept = 0
      for (const step of steps) {
        switch (step.do) {
          case 'alert': {
            const { host, how } = step
            const life = lives[host]!
            if (life.state === null) {
              Object.assign(life, { number: life.number + 1, heardAny: false, heardNewest: false })
              Object.assign(life, { state: how < 2 ? 'firing' : 'pending', severity: 'warning' })
            } else if (life.state === 'pending') life.state = how === 0 ? 'resolved' : 'firing'
            else if (how < 2 && life.severity === 'warning') life.severity = 'critical'
            else life.state = 'resolved'
            const { number, severity } = life
            const id = `cpu/mean-ewma/0/${host}/${number}`
            const alert = testAlert({ id, group: { host: HOSTS[host]! }, state: life.state!, severity })
            bench.commit(host % 2, alert)
            if (life.state === 'resolved') {
              if (life.heardAny) say(host)
              life.state = null
            } else {
              life.heardNewest = false
              if (!isSilent(host)) say(host)
            }
            break
          }
          case 'silence': {
            const fromMs = bench.nowMs + step.inMs
            const untilMs = fromMs + step.lastsMs
            const value = HOSTS.filter((_, i) => (step.hosts & (1 << i)) !== 0).join('|')
            bench.silence({ match: [{ label: 'host', op: '=~', value }], fromMs, untilMs })
            silences.push({ hosts: step.hosts, fromMs, untilMs, isOver: false })
            break
          }
          case 'end': {
            const silence = silences[step.which]
            if (silence === undefined) break
            bench.end(first + step.which)
            silence.isOver = true
            tellLate()
            break
          }
          case 'time':
            bench.passes(step.ms)
            tellLate()
            break
          case 'restart':
            bench.restart()
            bench.step()
            break
          case 'read': {
            for (const record of sink.read(step.recordsMax).records) {
              const place = `${record.partition}/${record.seq}/${record.row}`
              const text = JSON.stringify(record)
              expect(seen.get(place) ?? text, `what stands at ${place} stays`).toBe(text)
              seen.set(place, text)
              taken.push(record)
            }
            sink.settle()
            if (step.forgets) {
              // It died before its progress was remembered: it goes on from there, over the same records.
              const again = [...bench.cursor().from(remembered)]
              for (const record of taken.slice(isKept)) expect(again).toContainEqual(record)
              sink = bench.cursor()
              sink.seek(remembered)
              taken.length = isKept
            } else {
              remembered = sink.positions()
              isKept = taken.length
            }
            break
          }
        }
      }
      for (let more = true; more; ) {
        const read = sink.read(2)
        taken.push(...read.records)
        more = read.more
      }
      for (const records of [taken, bench.told(), bench.told(1)]) {
        expect(new Set(records.map(({ id }) => id)).size).toBe(records.length)
        const byHost = HOSTS.map((host) =>
          records
            .map(({ body }) => body as Alert)
            .filter(({ group }) => group.host === host)
            .map(({ id, state: at, severity }) => `${id.split('/').at(-1)} ${at} ${severity}`),
        )
        expect(byHost).toEqual(heard)
      }
      // The next run has silences of its own only.
      for (let i = 0; i < silences.length; i++) bench.end(first + i)
    }),
    { numRuns: 150 },
  )
}, 120_000)
