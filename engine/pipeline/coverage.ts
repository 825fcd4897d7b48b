/**
 * A partition is worked on alone. Where all samples of a group lie in one partition that is the whole story; where they
 * do not, the pipeline has an exchange: each partition sends what it knows of a group's slices to the group's owner
 * (partials.ts, merger.ts). Which of the two it is, is decided here, once, and written in the plan.
 */
import type { Fault } from '../contract/errors.ts'
import type { AggregatePlan, ExchangePlan, LabelMatcher, TopicSpec } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'

/** Owners of a pipeline's groups: merging is little work beside adding samples, and each owner writes its own entries. */
export const EXCHANGE_BUCKETS_MAX = 8

/**
 * All samples of a group lie in one partition: the group's labels, together with labels that `where` pins to one value,
 * decide the partition.
 */
export function isCovered(
  topic: TopicSpec,
  where: readonly LabelMatcher[],
  groupBy: readonly string[] | null,
): boolean {
  // A group that is one series lies where its series lies, whatever chooses the partition.
  if (topic.partitions === 1 || groupBy === null) return true
  const decided = new Set(groupBy)
  for (const { label, op } of where) if (op === '=') decided.add(label)
  return topic.partitionBy?.every((label) => decided.has(label)) ?? false
}

export function exchangeFor(topic: TopicSpec): ExchangePlan {
  return { buckets: Math.min(topic.partitions, EXCHANGE_BUCKETS_MAX) }
}

/** Aggregates that cannot be put together from several partitions, with the remedy. */
export function exchangeFaults(
  topic: TopicSpec,
  groupBy: readonly string[],
  aggregates: readonly AggregatePlan[],
  registry: Registry,
  place: string,
): Fault[] {
  const faults: Fault[] = []
  for (const { name, kind } of aggregates) {
    const accumulators = registry.aggregates.get(kind)?.accumulators ?? []
    if (!accumulators.every((one) => registry.accumulators.get(one)?.ordered === true)) continue
    if (accumulators.length === 0) continue
    const declared =
      groupBy.length === 0
        ? 'partitions: 1'
        : `partitionBy: [${groupBy.map((label) => JSON.stringify(label)).join(', ')}]`
    const partitionedBy = topic.partitionBy === null ? 'series' : topic.partitionBy.join(', ')
    faults.push({
      place: `${place}.${name}`,
      value: kind,
      problem:
        `${kind} needs the samples of a group in order of time, and the groups are spread over partitions: ` +
        `topic "${topic.name}" is partitioned by ${partitionedBy}`,
      remedy: `Declare topic("${topic.name}", { ${declared} }), or leave groupBy out to group by series.`,
    })
  }
  return faults
}
