/** Drives a value detector over a series as the engine does, for the detectors' own tests. */
import type { Fault } from '../../engine/contract/errors.ts'
import type { DetectorPlugin, Verdict } from '../../engine/contract/plugins.ts'
import { assert } from '../../engine/util/assert.ts'

export interface SeriesJudge {
  /** Judges and learns one value, the interval after the one before. */
  next(value: number): Verdict
  /** Judges and learns as many values. */
  run(values: number, of: (index: number) => number): readonly Verdict[]
  /** Lets time pass without values. */
  pause(ms: number): void
  /** Of the newest value. */
  readonly nowMs: number
  reason(subject: string, value: number, verdict: Verdict): string
}

const START_MS = 1_700_000_000_000

export function judgeSeries<O>(
  plugin: DetectorPlugin<O>,
  written: unknown,
  everyMs = 1_000,
  startMs = START_MS,
): SeriesJudge {
  const detector = plugin.create(parsed(plugin, written))
  const cells = new Float64Array(detector.width)
  let timeMs = startMs
  const next = (value: number): Verdict => {
    timeMs += everyMs
    const verdict = newVerdict()
    detector.score(cells, 0, timeMs, value, verdict)
    detector.learn(cells, 0, timeMs, value, verdict)
    return verdict
  }
  return {
    next,
    run: (values, of) => Array.from({ length: values }, (_, i) => next(of(i))),
    pause: (ms) => {
      timeMs += ms
    },
    get nowMs() {
      return timeMs
    },
    reason: (subject, value, verdict) => detector.reason(subject, value, verdict),
  }
}

/** Options as the plug-in's own spec reads them. */
export function parsed<O>(plugin: DetectorPlugin<O>, written: unknown): O {
  const faults: Fault[] = []
  const read = plugin.options.parse(written, plugin.kind, faults)
  assert(read !== undefined, 'the options of a test are allowed', JSON.stringify(faults))
  return read
}

export function newVerdict(): Verdict {
  return { score: NaN, expected: NaN, lower: NaN, upper: NaN, cleared: false, direction: 1 }
}
