/**
 * A detector over a file of the corpus, strictly: sample by sample, through the stage that pipelines use, with nothing
 * known of what comes. A row's NAB score is s / (1 + s) of its verdict; it is 0 while an alert is open, since an alert
 * tells a person once. Not able to judge is 0 too.
 */
import type { Fault } from '../../engine/contract/errors.ts'
import type { DetectorPlugin } from '../../engine/contract/plugins.ts'
import { DetectionStage } from '../../engine/pipeline/detection.ts'
import { Cells } from '../../engine/state/cells.ts'
import { assert } from '../../engine/util/assert.ts'

export interface Judged {
  /** s / (1 + s) a row; above 0.5: an alert began here. */
  readonly scores: Float64Array
  /** Of the processor. */
  readonly seconds: number
}

/** A verdict's score of 1 is the band's edge: at the default, a row is an alarm above this. */
export const DEFAULT_THRESHOLD = 0.5 + Number.EPSILON

export function judgeFile(
  plugin: DetectorPlugin<never>,
  written: unknown,
  timesMs: Float64Array,
  values: Float64Array,
): Judged {
  let open = false
  const stage = new DetectionStage({
    plan: { name: plugin.kind, kind: plugin.kind, column: 'value', options: null, holdMs: 0 },
    detector: plugin.create(optionsOf(plugin, written)),
    cells: new Cells(plugin.kind),
    emit: (_, { state }) => {
      open = state !== 'resolved'
    },
  })
  stage.ensureRows(1)
  const scores = new Float64Array(values.length)
  const startedUs = process.cpuUsage().user
  for (let row = 0; row < values.length; row++) {
    const wasOpen = open
    const { score } = stage.judge(0, timesMs[row]!, values[row]!)
    scores[row] = wasOpen || Number.isNaN(score) ? 0 : score / (1 + score)
  }
  return { scores, seconds: (process.cpuUsage().user - startedUs) / 1e6 }
}

export function optionsOf(plugin: DetectorPlugin<never>, written: unknown): never {
  const faults: Fault[] = []
  const options = plugin.options.parse(written, plugin.kind, faults)
  assert(options !== undefined, 'the options of a bench are allowed', JSON.stringify(faults))
  return options
}
