/**
 * Recording and alert rules for Prometheus. Alerts are about millrace itself: whether it takes samples in, keeps up, and
 * delivers. What its detectors find goes to its own sinks. `severity` is `critical` (somebody should act now) or
 * `warning` (in working hours). Each alert says what to do, here and nowhere else: docs/monitoring.md is made of it.
 */
import {
  CHECKPOINT_TIME,
  DERIVED,
  DETECTOR_SERIES,
  DISK_FREE,
  DISK_LOW,
  DISK_RESERVE,
  INGEST_REQUESTS,
  INGEST_SAMPLES,
  LOG_COMMIT_DURATION,
  LOG_SERIES,
  LOG_SERIES_LIMIT,
  PIPELINE_ALERTS,
  PIPELINE_DEAD_LETTERS,
  PIPELINE_SAMPLES,
  PIPELINE_SAMPLES_IN,
  SINK_DEAD,
  SINK_LAG,
  SINK_RECORDS,
  THREAD_RESTARTS,
} from '../../engine/metrics/catalog.ts'
import { quantile, rate, series, sumBy } from '../promql.ts'

export interface RecordingRule {
  readonly record: string
  readonly expr: string
}

export interface AlertRule {
  readonly alert: string
  readonly expr: string
  readonly for: string
  readonly severity: 'critical' | 'warning'
  /** One line with the labels and the value, as the one who is woken reads it. */
  readonly summary: string
  /** What it means and what to do. */
  readonly action: string
}

const NODE = 'job, instance'
const OF_PIPELINE = `${NODE}, pipeline`
const all = (range: string) => ({ where: '', range })

/** Names as Prometheus recommends: level:metric:operations. */
export const RECORDING_RULES: readonly RecordingRule[] = [
  { record: 'instance:millrace_ingest_samples:rate5m', expr: sumBy(NODE, rate(INGEST_SAMPLES, all('5m'))) },
  {
    record: 'pipeline:millrace_pipeline_samples_in:rate5m',
    expr: sumBy(OF_PIPELINE, rate(PIPELINE_SAMPLES_IN, all('5m'))),
  },
  {
    record: 'pipeline:millrace_pipeline_late:ratio_rate5m',
    expr: `${sumBy(OF_PIPELINE, rate(PIPELINE_SAMPLES, { where: 'fate="late"', range: '5m' }))} / (${sumBy(OF_PIPELINE, rate(PIPELINE_SAMPLES_IN, all('5m')))} > 0)`,
  },
  {
    record: 'pipeline:millrace_pipeline_alerts_fired:increase1d',
    expr: sumBy(OF_PIPELINE, `increase(${series(PIPELINE_ALERTS, 'state="firing"')}[1d])`),
  },
  {
    record: 'instance:millrace_log_commit_duration_seconds:p99_5m',
    expr: quantile(0.99, LOG_COMMIT_DURATION, { where: '', range: '5m', by: NODE }),
  },
]

export const ALERT_RULES: readonly AlertRule[] = [
  {
    alert: 'MillraceNotReady',
    expr: `${series(DERIVED.up, '')} == 0`,
    for: '1m',
    severity: 'critical',
    summary: '{{ $labels.instance }} has not been ready for a minute.',
    action:
      'The node runs and cannot work: it starts, stops, or has failed. `GET /readyz` says which part is not ready; the log says why. Prometheus’ own `up == 0` tells of a node that does not answer at all: alert on it with the rest of your targets.',
  },
  {
    alert: 'MillraceDiskFull',
    expr: `${series(DISK_LOW, '')} == 1`,
    for: '1m',
    severity: 'critical',
    summary: '{{ $labels.instance }} takes nothing in: its disk is nearly full.',
    action:
      'Write requests are answered 503 until there is room; nothing that was acknowledged is lost. Free or add disk, or lower the retention and restart; intake goes on by itself.',
  },
  {
    alert: 'MillraceDiskFillsUp',
    expr: `predict_linear(${series(DISK_FREE, '')}[1h], 6 * 3600) < ${series(DISK_RESERVE, '')}`,
    for: '15m',
    severity: 'warning',
    summary: 'The disk of {{ $labels.instance }} will be full within six hours.',
    action:
      'At the rate of the last hour the room ends within six hours. Lower the retention by size (`retention.bytes`), or find out who else writes to the disk.',
  },
  {
    alert: 'MillraceIntakeFails',
    expr: `${sumBy(NODE, rate(INGEST_REQUESTS, { where: 'outcome="failed"', range: '5m' }))} > 0`,
    for: '5m',
    severity: 'critical',
    summary: '{{ $labels.instance }} fails {{ $value | humanize }} write requests a second.',
    action:
      'Requests fail inside the node. Senders that retry lose nothing. The log names the error; a failing disk ends the process by design, so that it is never half alive.',
  },
  {
    alert: 'MillraceIntakeRefused',
    expr: `${sumBy(NODE, rate(INGEST_REQUESTS, { where: 'outcome=~"refused|malformed"', range: '10m' }))} / (${sumBy(NODE, rate(INGEST_REQUESTS, all('10m')))} > 0) > 0.01`,
    for: '10m',
    severity: 'warning',
    summary: '{{ $labels.instance }} refuses {{ $value | humanizePercentage }} of its write requests.',
    action:
      '`millrace_ingest_refused_requests_total` has the reason: `in_flight` and `log_full` mean more comes in than the disk takes; `parameters`, `encoding` and malformed lines are the sender’s to mend, and the answer of each request says what is wrong.',
  },
  {
    alert: 'MillraceSeriesLimitNear',
    expr: `${series(LOG_SERIES, '')} / ${series(LOG_SERIES_LIMIT, '')} > 0.9`,
    for: '10m',
    severity: 'warning',
    summary:
      'Topic {{ $labels.topic }} of {{ $labels.instance }} has {{ $value | humanizePercentage }} of the series allowed.',
    action:
      'At the limit, samples of new series are refused; known ones go on. Look for a label whose values never repeat (a request id, a time). If the series are right, raise the limit of the topic and see to the memory.',
  },
  {
    alert: 'MillracePipelineBehind',
    expr: `${series(DERIVED.watermarkLag, '')} > 300 and on (${OF_PIPELINE}) ${sumBy(OF_PIPELINE, rate(PIPELINE_SAMPLES_IN, all('5m')))} > 0`,
    for: '10m',
    severity: 'warning',
    summary:
      'Pipeline {{ $labels.pipeline }} on {{ $labels.instance }} is {{ $value | humanizeDuration }} behind.',
    action:
      'Samples come in and their windows close late, so alerts are late too. Either the shards are too slow (`millrace_pipeline_lag_offsets` grows: more threads, fewer aggregates), or one sender’s clock is behind and holds the watermark back.',
  },
  {
    alert: 'MillracePipelineStarved',
    expr: `${sumBy(OF_PIPELINE, rate(PIPELINE_SAMPLES_IN, all('10m')))} == 0 and ${sumBy(OF_PIPELINE, `rate(${series(PIPELINE_SAMPLES_IN, '')}[1h] offset 10m)`)} > 0`,
    for: '5m',
    severity: 'warning',
    summary: 'Pipeline {{ $labels.pipeline }} on {{ $labels.instance }} has seen nothing for ten minutes.',
    action:
      'Samples came until ten minutes ago. See whether senders still write (`millrace_ingest_samples_total`) and to the same topic. Series that fall silent one by one are the `silence` detector’s affair.',
  },
  {
    alert: 'MillraceLateSamples',
    expr: 'pipeline:millrace_pipeline_late:ratio_rate5m > 0.01',
    for: '15m',
    severity: 'warning',
    summary:
      '{{ $value | humanizePercentage }} of the samples of {{ $labels.pipeline }} come too late for their windows.',
    action:
      'They are counted and left out. Raise `.disorder` (results come later) or `.lateness` (results are corrected), or mend the clock of the sender.',
  },
  {
    alert: 'MillraceDeadLetters',
    expr: `increase(${series(PIPELINE_DEAD_LETTERS, '')}[15m]) > 0`,
    for: '0m',
    severity: 'warning',
    summary: 'Pipeline {{ $labels.pipeline }} on {{ $labels.instance }} gave up a record batch.',
    action:
      'A shard failed over and over at the same batch, which is now skipped: its samples are missing in the results. The dead letter holds the reason; mend the operator and `millrace replay` the range.',
  },
  {
    alert: 'MillraceThreadRestarts',
    expr: `increase(${series(THREAD_RESTARTS, '')}[15m]) > 2`,
    for: '0m',
    severity: 'warning',
    summary:
      'Thread {{ $labels.thread }} of {{ $labels.instance }} was restarted {{ $value | humanize }} times in 15 minutes.',
    action:
      'The supervisor restores it from the last checkpoint each time, and ends the process when it fails too often. The log has the error: an operator that throws, or memory that is too small.',
  },
  {
    alert: 'MillraceThreadStuck',
    expr: `${series(DERIVED.heartbeatAge, '')} > 60`,
    for: '1m',
    severity: 'critical',
    summary:
      'Thread {{ $labels.thread }} of {{ $labels.instance }} has stood still for {{ $value | humanizeDuration }}.',
    action:
      'A shard that hangs is replaced by the supervisor; another thread that hangs waits for something outside, usually the disk. Take a stack with `kill -USR1 PID` and `node inspect`, then restart: nothing acknowledged is lost.',
  },
  {
    alert: 'MillraceSinkStuck',
    expr: `${series(SINK_LAG, '')} > 0 and rate(${series(SINK_RECORDS, '')}[10m]) == 0`,
    for: '10m',
    severity: 'critical',
    summary:
      'Sink {{ $labels.sink }} of {{ $labels.pipeline }} delivers nothing; {{ $value | humanize }} entries wait.',
    action:
      'Nobody is told of the alerts among them. The target does not answer or answers with errors that are tried again: the log says which. Entries are kept and delivered in order when it does.',
  },
  {
    alert: 'MillraceSinkRefused',
    expr: `increase(${series(SINK_DEAD, '')}[15m]) > 0`,
    for: '0m',
    severity: 'warning',
    summary:
      'Sink {{ $labels.sink }} of {{ $labels.pipeline }}: the target refused {{ $value | humanize }} records for good.',
    action:
      'The target answered that it will never take them (4xx), so they are skipped and logged with its answer. Mend the target or its address; the results are still in the results table.',
  },
  {
    alert: 'MillraceDetectorUnfit',
    expr: `${sumBy(`${OF_PIPELINE}, detector, health`, series(DETECTOR_SERIES, 'health=~"blind|saturated"'))} / ignoring (health) group_left () ${sumBy(`${OF_PIPELINE}, detector`, series(DETECTOR_SERIES, ''))} > 0.05`,
    for: '30m',
    severity: 'warning',
    summary:
      'Detector {{ $labels.detector }} of {{ $labels.pipeline }} is {{ $labels.health }} for {{ $value | humanizePercentage }} of its series.',
    action:
      'Saturated: it fires most of the time, and nobody reads on. Raise its threshold or its floors (`minDeviation`), or choose a detector that suits the series. Blind: it could not alarm whatever came, because its scale has no bound: look for broken values (`millrace_pipeline_samples_total{fate="non_finite"}`, counters that are not differenced), and let it learn anew from mended ones.',
  },
  {
    alert: 'MillraceCheckpointOld',
    expr: `time() - ${series(CHECKPOINT_TIME, '')} > 600 and on (${OF_PIPELINE}) ${sumBy(OF_PIPELINE, rate(PIPELINE_SAMPLES_IN, all('5m')))} > 0`,
    for: '5m',
    severity: 'warning',
    summary: 'The newest checkpoint of {{ $labels.pipeline }} is {{ $value | humanizeDuration }} old.',
    action:
      'A restart would replay all that came since. Checkpoints do not get done: the disk is slow (`millrace_checkpoint_duration_seconds`), or the state is very large for it.',
  },
  {
    alert: 'MillraceDiskSlow',
    expr: 'instance:millrace_log_commit_duration_seconds:p99_5m > 0.5',
    for: '10m',
    severity: 'warning',
    summary: 'The log of {{ $labels.instance }} needs {{ $value | humanizeDuration }} to be durable (p99).',
    action:
      'Each acknowledgement waits for fdatasync. Something else uses the disk, its credits are spent, or it is failing. `millrace doctor` measures it.',
  },
]

interface RuleGroup {
  readonly name: string
  readonly rules: readonly object[]
}

/** What Prometheus reads under `rule_files`. */
export function ruleFile(): { readonly groups: readonly RuleGroup[] } {
  return {
    groups: [
      { name: 'millrace-recording', rules: RECORDING_RULES },
      {
        name: 'millrace-alerts',
        rules: ALERT_RULES.map(({ alert, expr, for: wait, severity, summary, action }) => ({
          alert,
          expr,
          for: wait,
          labels: { severity },
          annotations: { summary, description: action },
        })),
      },
    ],
  }
}
