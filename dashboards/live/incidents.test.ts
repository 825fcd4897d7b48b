import { describe, expect, test } from 'vitest'
import type { Incident, IncidentsAnswer } from '../../engine/contract/queries.ts'
import { incidentsOf } from '../../engine/pipeline/incidents.ts'
import { testAlert } from '../../engine/pipeline/memory-state.ts'
import {
  ASK_COST_FACTOR,
  ASK_EVERY_MS,
  ASK_IDLE_MS,
  INCIDENTS_SHOWN_MAX,
  IncidentFeed,
  listIncidents,
} from './browser/incidents.ts'

const NOTHING: IncidentsAnswer = { rows: [], isWhole: true }

/** `alerts` of them, that began at `sinceMs`. */
function incidentAt(sinceMs: number, untilMs: number | null, alerts = 2): Incident {
  const [made] = incidentsOf(
    Array.from({ length: alerts }, (_, i) =>
      testAlert({ id: `${sinceMs}/${i}`, state: 'firing', sinceMs, atMs: sinceMs, group: { rack: '7' } }),
    ),
  )
  return { ...made!, untilMs }
}

describe('incidents of the page', () => {
  test('what fires comes first, then the newest; alerts alone are only counted', () => {
    const rows = [
      incidentAt(1, null),
      incidentAt(2, 9),
      incidentAt(3, null, 1),
      incidentAt(4, null),
      incidentAt(5, 6),
    ]
    const { shown, ...counts } = listIncidents(rows)
    expect(shown.map(({ sinceMs }) => sinceMs)).toEqual([4, 1, 5, 2])
    expect(counts).toEqual({ open: 2, over: 2, alone: 1 })
    expect(rows.map(({ sinceMs }) => sinceMs)).toEqual([1, 2, 3, 4, 5])
  })

  test('the list is bounded, the counts are of all', () => {
    const many = Array.from({ length: INCIDENTS_SHOWN_MAX + 5 }, (_, i) => incidentAt(i, i + 1))
    const { shown, over } = listIncidents([...many, incidentAt(0, null)])
    expect(shown).toHaveLength(INCIDENTS_SHOWN_MAX)
    expect(shown[0]!.untilMs).toBeNull()
    expect(over).toBe(many.length)
  })
})

describe('when the node is asked', () => {
  /** A second a tick. */
  function opened({ tookMs = 0 } = {}) {
    let nowMs = 0
    let fails = false
    const askedMs: number[] = []
    const failures: unknown[] = []
    const feed = new IncidentFeed({
      nowMs: () => nowMs,
      take: () => undefined,
      fail: (error) => failures.push(error),
      ask: async () => {
        askedMs.push(nowMs)
        nowMs += tookMs
        if (fails) throw new Error('no answer')
        return NOTHING
      },
    })
    return {
      feed,
      askedMs,
      failures,
      fail: (value: boolean) => {
        fails = value
      },
      run: async (untilMs: number, { isVisible = true, changes = false } = {}) => {
        while (nowMs < untilMs) {
          if (changes) feed.changed()
          await feed.tick(isVisible)
          nowMs += 1_000
        }
      },
    }
  }

  test('at once, then at most every 10 s while alerts change, every minute while none does', async () => {
    const { run, askedMs } = opened()
    await run(ASK_EVERY_MS * 3, { changes: true })
    expect(askedMs).toEqual([0, 10_000, 20_000])
    await run(ASK_EVERY_MS * 3 + ASK_IDLE_MS)
    // One change was left.
    expect(askedMs.slice(3)).toEqual([30_000])
    await run(ASK_EVERY_MS * 3 + ASK_IDLE_MS + 1_000)
    expect(askedMs.slice(4)).toEqual([90_000])
  })

  test('a change after a quiet while is asked for at once', async () => {
    const { feed, run, askedMs } = opened()
    await run(25_000)
    feed.changed()
    await run(26_000)
    expect(askedMs).toEqual([0, 25_000])
  })

  test('never while nobody looks, and at once when somebody does', async () => {
    const { run, askedMs } = opened()
    await run(200_000, { isVisible: false, changes: true })
    expect(askedMs).toEqual([])
    await run(201_000)
    expect(askedMs).toEqual([200_000])
  })

  test.each([
    [3_000, 3_000 * ASK_COST_FACTOR],
    // A failure after a long wait must not silence the page.
    [30_000, ASK_IDLE_MS],
  ])('an answer that takes %i ms is asked for every %i ms', async (tookMs, everyMs) => {
    const { run, askedMs } = opened({ tookMs })
    await run(300_000, { changes: true })
    const pauses = askedMs.slice(1).map((ms, i) => ms - askedMs[i]!)
    expect(pauses.length).toBeGreaterThan(1)
    for (const pauseMs of pauses) expect(pauseMs).toBe(everyMs)
  })

  test('one question at a time; what changes meanwhile is asked for afterwards', async () => {
    const answers: ((answer: IncidentsAnswer) => void)[] = []
    let nowMs = 0
    const feed = new IncidentFeed({
      nowMs: () => nowMs,
      take: () => undefined,
      fail: () => undefined,
      ask: () => new Promise((resolve) => answers.push(resolve)),
    })
    const first = feed.tick(true)
    feed.changed()
    nowMs = 1_000_000
    await feed.tick(true)
    expect(answers).toHaveLength(1)
    nowMs = 100
    answers[0]!(NOTHING)
    await first
    nowMs = ASK_EVERY_MS
    void feed.tick(true)
    expect(answers).toHaveLength(2)
  })

  test('a failure is told, and it is asked again after the same pause', async () => {
    const { run, fail, askedMs, failures } = opened()
    fail(true)
    await run(10_000)
    expect([askedMs, failures]).toEqual([[0], [new Error('no answer')]])
    fail(false)
    await run(60_000)
    expect([askedMs, failures.length]).toEqual([[0, 10_000], 1])
  })
})
