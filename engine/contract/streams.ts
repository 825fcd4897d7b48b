/**
 * The entry streams of a pipeline in the state store, by number; P partitions, B buckets of groups:
 *
 *     0 … P-1            one a partition of the topic: results, alerts, late samples; with an exchange only the latter
 *     P … P+B-1          with an exchange, one a bucket's owner: results and alerts
 *     P+B … P+B+P-1      with an exchange, one a partition: what its owners are sent; nobody else ever sees it
 *
 * What sinks and queries call the partition of a record is the number of its stream.
 */
import type { PipelinePlan } from './plan.ts'

/** Streams that sinks and queries read. */
export function resultStreams({ topic, exchange }: PipelinePlan): number {
  return topic.partitions + (exchange?.buckets ?? 0)
}

export function storedStreams({ topic, exchange }: PipelinePlan): number {
  return streamCount(topic.partitions, exchange)
}

export function streamCount(partitions: number, exchange: PipelinePlan['exchange']): number {
  return partitions + (exchange === undefined ? 0 : exchange.buckets + partitions)
}

export function ownerStream({ topic }: PipelinePlan, bucket: number): number {
  return topic.partitions + bucket
}

/** What a partition's chain sends to the owners of its groups. */
export function partialStream(plan: PipelinePlan, partition: number): number {
  return resultStreams(plan) + partition
}
