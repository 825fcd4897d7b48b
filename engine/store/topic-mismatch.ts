/** A topic's partitions and partition key are fixed when it is made: what differs, and what to do about it. Pure. */
import { type Fault, MillraceError } from '../contract/errors.ts'
import type { TopicSpec } from '../contract/plan.ts'

export function topicMismatch(existing: TopicSpec, declared: TopicSpec): MillraceError | null {
  const faults: Fault[] = []
  const place = `topic(${JSON.stringify(declared.name)})`
  if (existing.partitions !== declared.partitions) {
    faults.push({
      place: `${place}.partitions`,
      value: declared.partitions,
      problem: `the topic was made with ${existing.partitions}`,
      remedy: `Write partitions: ${existing.partitions}, or use another topic name.`,
    })
  }
  const made = JSON.stringify(existing.partitionBy)
  if (made !== JSON.stringify(declared.partitionBy)) {
    faults.push({
      place: `${place}.partitionBy`,
      value: declared.partitionBy,
      problem: `the topic was made with ${existing.partitionBy === null ? 'none (the whole series key)' : made}`,
      remedy:
        existing.partitionBy === null
          ? 'Leave partitionBy out, or use another topic name.'
          : `Write partitionBy: ${made}, or use another topic name.`,
    })
  }
  if (faults.length === 0) return null
  return MillraceError.ofFaults(
    'TOPIC_MISMATCH',
    'a topic is declared differently from how it was made',
    faults,
  )
}
