/**
 * The public API: everything a pipeline module, a configuration file or a plug-in imports from 'millrace', and nothing
 * else. Names are explicit; importing it starts nothing and reads nothing.
 *
 * @module millrace
 */

// Configuration
export { type ConfigInput, defineConfig } from './engine/config/config.ts'
// What sinks and queries hand out
export type { Alert, AlertState } from './engine/contract/alert.ts'
// Definitions, for functions that make or take parts of pipelines
export type {
  Aggregate,
  SilenceDetectorChoice,
  SinkChoice,
  Topic,
  ValueDetector,
  Window,
} from './engine/contract/definition.ts'
// Errors
export { type ErrorCode, type Fault, MillraceError } from './engine/contract/errors.ts'
// Plans
export type {
  AggregatePlan,
  DetectorPlan,
  LabelMatcher,
  PipelinePlan,
  SinkPlan,
  TopicSpec,
  WindowPlan,
} from './engine/contract/plan.ts'
export type {
  Detector,
  LateBody,
  ResultBody,
  ScoreBody,
  SinkFeed,
  SinkRecord,
  Verdict,
} from './engine/contract/plugins.ts'
export type { Labels } from './engine/contract/samples.ts'
// Pipelines
export type {
  AlertOptions,
  AlertOverride,
  MinDeviation,
  MuteTime,
  SeverityOption,
} from './engine/pipeline/alert-options.ts'
export {
  type DetectOptions,
  type LabelCondition,
  type LabelValue,
  not,
  type Pipeline,
  pipeline,
  type ToOptions,
  type TopicOptions,
  topic,
} from './engine/pipeline/builder.ts'
// Aggregates
export { count } from './operators/aggregates/count.ts'
export { last } from './operators/aggregates/last.ts'
export { max } from './operators/aggregates/max.ts'
export { mean } from './operators/aggregates/mean.ts'
export { min } from './operators/aggregates/min.ts'
export { rate } from './operators/aggregates/rate.ts'
export { standardDeviation } from './operators/aggregates/standard-deviation.ts'
export { sum } from './operators/aggregates/sum.ts'
// Detectors
export { type DetectorDefinitionOf, defineDetector, option } from './operators/define-detector.ts'
export { auto } from './operators/detectors/auto.ts'
export { changePoint } from './operators/detectors/change-point.ts'
export { contextMemory } from './operators/detectors/context-memory.ts'
export { cusum } from './operators/detectors/cusum.ts'
export { discord } from './operators/detectors/discord.ts'
export { ewma } from './operators/detectors/ewma.ts'
export { halfSpaceTrees } from './operators/detectors/half-space-trees.ts'
export { holtWinters } from './operators/detectors/holt-winters.ts'
export { hourOfWeek } from './operators/detectors/hour-of-week.ts'
export { knnCad } from './operators/detectors/knn-cad.ts'
export { mad } from './operators/detectors/mad.ts'
export { pageHinkley } from './operators/detectors/page-hinkley.ts'
export { pca } from './operators/detectors/pca.ts'
export { peers } from './operators/detectors/peers.ts'
export { randomCutForest } from './operators/detectors/random-cut-forest.ts'
export { rangeBreach } from './operators/detectors/range-breach.ts'
export { rateOfChange } from './operators/detectors/rate-of-change.ts'
export { relativeEntropy } from './operators/detectors/relative-entropy.ts'
export { silence } from './operators/detectors/silence.ts'
export { spot } from './operators/detectors/spot.ts'
export { threshold } from './operators/detectors/threshold.ts'
export { abstain, bandReason, judgeBand } from './operators/detectors/verdicts.ts'
// Sinks
export { alertmanager } from './operators/sinks/alertmanager.ts'
export { ndjsonFile } from './operators/sinks/ndjson-file.ts'
export { scoresTo } from './operators/sinks/scores-to.ts'
export { stdout } from './operators/sinks/stdout.ts'
export { webhook } from './operators/sinks/webhook.ts'
// Windows
export { sliding } from './operators/windows/sliding.ts'
export { tumbling } from './operators/windows/tumbling.ts'
