/**
 * A partition is worked on alone, so all samples of a group must lie in one partition. That holds when the group's
 * labels, together with labels that `where` pins to one value, decide the partition.
 */
import type { Fault } from '../contract/errors.ts'
import type { LabelMatcher, TopicSpec } from '../contract/plan.ts'

/** Why the groups are not covered by the topic's partitions, with the remedy; null: they are. */
export function coverageFault(
  topic: TopicSpec,
  where: readonly LabelMatcher[],
  groupBy: readonly string[] | null,
  place: string,
): Fault | null {
  // A group that is one series lies where its series lies, whatever chooses the partition.
  if (topic.partitions === 1 || groupBy === null) return null
  const decided = new Set(groupBy)
  for (const { label, op } of where) if (op === '=') decided.add(label)
  if (topic.partitionBy?.every((label) => decided.has(label))) return null
  const declared =
    groupBy.length === 0
      ? 'partitions: 1'
      : `partitionBy: [${groupBy.map((label) => JSON.stringify(label)).join(', ')}]`
  const partitionedBy = topic.partitionBy === null ? 'series' : topic.partitionBy.join(', ')
  return {
    place,
    value: groupBy,
    problem: `the groups are spread over partitions: topic "${topic.name}" is partitioned by ${partitionedBy}`,
    remedy: `Declare topic("${topic.name}", { ${declared} }), or leave groupBy out to group by series.`,
  }
}
