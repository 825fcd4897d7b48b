/**
 * `millrace/testing`: tests of a user's own pipelines, without a node. Needs no test runner; `millrace/testing/vitest`
 * registers the matchers with vitest.
 *
 * @module millrace/testing
 */
export type { Alert } from '../engine/contract/alert.ts'
export type { Ledger } from '../engine/contract/entries.ts'
export type { PipelinePlan } from '../engine/contract/plan.ts'
export type { LateBody, ResultBody } from '../engine/contract/plugins.ts'
export type { Labels } from '../engine/contract/samples.ts'
export {
  type DriverOptions,
  type DriverState,
  type DurationInput,
  drive,
  type PipelineDriver,
  type TestSample,
  type TimeInput,
} from './driver.ts'
export {
  type AlertPattern,
  type MatcherResult,
  type MillraceMatchers,
  millraceMatchers,
  type ResultPattern,
} from './matchers.ts'
