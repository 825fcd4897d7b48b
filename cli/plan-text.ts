/** A plan as a person reads it: what `millrace check` prints. Pure. */
import { durationText } from '../engine/config/options.ts'
import type { AlertPlan, LabelMatcher, PipelinePlan } from '../engine/contract/plan.ts'
import { NAME_LABEL } from '../engine/contract/samples.ts'

export function planText(plan: PipelinePlan): string {
  const { topic, window } = plan
  const by = topic.partitionBy === null ? 'series' : topic.partitionBy.join(', ')
  const rows: [string, string][] = [
    ['from', `topic ${topic.name}, ${topic.partitions} partitions by ${by}`],
    ...plan.where.map((matcher): [string, string] => ['where', matcherText(matcher)]),
    ['group by', groupText(plan)],
    ...exchangeRows(plan),
    ['time', `disorder ${durationText(plan.disorderMs)}, idle after ${durationText(plan.idleMs)}`],
    [
      'window',
      `${window.kind} ${durationText(window.sizeMs)} every ${durationText(window.everyMs)}, in slices of ${durationText(window.sliceMs)}`,
    ],
    ...plan.aggregates.map(({ name, kind, options }): [string, string] => [
      'column',
      `${name} = ${kind}${optionsText(options)}`,
    ]),
    ...plan.detectors.map(({ name, kind, column, options, holdMs, alert }): [string, string] => [
      'detect',
      `${name}: ${kind} of ${column ?? 'arrivals'}${optionsText(options)}${holdMs > 0 ? `, hold ${durationText(holdMs)}` : ''}${alertWords(alert)}`,
    ]),
    ...plan.sinks.map(({ name, kind, options, feed }): [string, string] => [
      'to',
      `${name}: ${feed} to ${kind}${optionsText(options)}`,
    ]),
  ]
  const width = Math.max(...rows.map(([head]) => head.length))
  const lines = rows.map(([head, text], i) => {
    const repeated = i > 0 && rows[i - 1]![0] === head
    return `  ${(repeated ? '' : head).padEnd(width)}  ${text}`
  })
  return [plan.name, ...lines, ''].join('\n')
}

function alertWords(alert: AlertPlan = {}): string {
  const { atLeast, clearBelow, keepFiringMs, refractoryMs, minDeviation, severity, flapping } = alert
  const words: string[] = []
  if (atLeast !== undefined) words.push(`${atLeast.anomalous} of ${atLeast.of}`)
  if (minDeviation !== undefined) {
    words.push(
      `off by at least ${minDeviation.absolute} and ${Math.round(minDeviation.relative * 1_000) / 10}%`,
    )
  }
  if (clearBelow !== undefined) words.push(`ends at ${clearBelow}`)
  if (keepFiringMs !== undefined) words.push(`quiet for ${durationText(keepFiringMs)}`)
  if (refractoryMs !== undefined) words.push(`rests ${durationText(refractoryMs)}`)
  if (flapping !== undefined) words.push(`flaps at ${flapping.times} in ${durationText(flapping.withinMs)}`)
  if (alert.inhibitedBy !== undefined) words.push(`not while ${alert.inhibitedBy} fires`)
  if (alert.muteTimes !== undefined) words.push(countOf(alert.muteTimes, 'mute time'))
  if (alert.overrides !== undefined) words.push(countOf(alert.overrides, 'override'))
  if (severity !== undefined) words.push(severity.map((step) => step.severity).join(' to '))
  return words.map((word) => `, ${word}`).join('')
}

function countOf({ length }: readonly unknown[], what: string): string {
  return `${length} ${what}${length === 1 ? '' : 's'}`
}

function groupText({ groupBy }: PipelinePlan): string {
  if (groupBy === null) return 'series'
  return groupBy.length === 0 ? 'nothing: all series are one group' : groupBy.join(', ')
}

function exchangeRows({ exchange }: PipelinePlan): [string, string][] {
  if (exchange === undefined) return []
  const owners = exchange.buckets === 1 ? '1 owner' : `${exchange.buckets} owners`
  return [['exchange', `groups are spread over partitions: two phases, slices merged by ${owners}`]]
}

function matcherText({ label, op, value }: LabelMatcher): string {
  const shown = label === NAME_LABEL ? 'name' : label
  if (typeof value !== 'string')
    return `${shown} is one of ${value.map((one) => JSON.stringify(one)).join(', ')}`
  return op.endsWith('~') ? `${shown} ${op} /${value}/` : `${shown} ${op} ${JSON.stringify(value)}`
}

/** ` (threshold 6, history 1h)`: durations by the name that parsing gave them, what was left out not at all. */
function optionsText(options: unknown): string {
  if (typeof options !== 'object' || options === null) return ''
  const parts: string[] = []
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue
    const isDuration = name.endsWith('Ms') && typeof value === 'number'
    const text = isDuration ? durationText(value) : typeof value === 'string' ? value : JSON.stringify(value)
    parts.push(`${isDuration ? name.slice(0, -2) : name} ${text}`)
  }
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`
}
