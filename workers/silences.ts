/**
 * Silences as a node makes them: what a person wrote is read against what the node runs, and the committer, which decides
 * with each transition, stores the silence before it is answered.
 */
import { nearest } from '../engine/config/did-you-mean.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Queries } from '../engine/contract/queries.ts'
import { NAME_LABEL } from '../engine/contract/samples.ts'
import type {
  Silence,
  SilenceDoor,
  SilenceMade,
  SilenceRow,
  SilenceSpec,
} from '../engine/contract/silences.ts'
import { resultStreams } from '../engine/contract/streams.ts'
import { readSilence, silenceRow, silenceState, silenceTest } from '../engine/pipeline/silences.ts'
import { decodeSeriesKey } from '../engine/series/series-key.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import type { Clock } from '../engine/util/clock.ts'
import type { SilenceChange } from './wiring.ts'

/** Groups a stream that are looked at for the names of labels, where the pipeline does not name them itself. */
const GROUPS_LOOKED_AT_MAX = 256

export interface SilencesOptions {
  readonly pipelines: readonly { readonly pipelineId: number; readonly plan: PipelinePlan }[]
  readonly state: Pick<StateReader, 'groupKey'>
  readonly queries: Pick<Queries, 'alerts'>
  /** By the committer; resolves when it is durable. */
  readonly change: (change: SilenceChange) => Promise<Silence>
  readonly clock: Clock
}

export class Silences implements SilenceDoor {
  readonly #options: SilencesOptions

  constructor(options: SilencesOptions) {
    this.#options = options
  }

  async silence(written: unknown): Promise<SilenceMade> {
    const { pipelines, queries, change, clock } = this.#options
    const faults: Fault[] = []
    const known = {
      pipelines: pipelines.map(({ plan: { name, detectors } }) => ({
        name,
        detectors: detectors.map((detector) => detector.name),
      })),
    }
    const spec = readSilence(written, { nowMs: clock.nowMs(), known, faults })
    if (spec === null) throw MillraceError.ofFaults('INPUT_INVALID', 'nothing is silenced', faults)
    const silence = await change({ spec })
    const isActive = silenceState(silence, clock.nowMs()) === 'active'
    const alerts = isActive ? (await queries.alerts({})).filter(silenceTest(silence)).length : 0
    return { silence: silenceRow(silence, clock.nowMs()), alerts, warnings: this.#warnings(spec) }
  }

  async unsilence(id: number): Promise<SilenceRow> {
    const silence = await this.#options.change({ end: id })
    return silenceRow(silence, this.#options.clock.nowMs())
  }

  /** It holds for what is to come, so that a label which nobody has is no error: only likely to be one. */
  #warnings({ match, pipeline }: SilenceSpec): string[] {
    const known = this.#labels(pipeline)
    if (known.size === 0) return []
    return match
      .filter(({ label }) => !known.has(label))
      .map(({ label }) => {
        const near = nearest(label, known)
        const guess = near === null ? '' : ` Did you mean "${nameOf(near)}"?`
        return `no group has a label "${nameOf(label)}" so far.${guess}`
      })
  }

  #labels(pipeline: string | null): ReadonlySet<string> {
    const labels = new Set<string>()
    for (const { pipelineId, plan } of this.#options.pipelines) {
      if (pipeline !== null && plan.name !== pipeline) continue
      for (const label of plan.groupBy ?? []) labels.add(label)
      if (plan.groupBy !== null) continue
      for (let stream = 0; stream < resultStreams(plan); stream++) {
        for (let groupId = 0; groupId < GROUPS_LOOKED_AT_MAX; groupId++) {
          const key = this.#options.state.groupKey(pipelineId, stream, groupId)
          if (key === null) break
          for (const label of Object.keys(decodeSeriesKey(key))) labels.add(label)
        }
      }
    }
    return labels
  }
}

function nameOf(label: string): string {
  return label === NAME_LABEL ? 'name' : label
}
