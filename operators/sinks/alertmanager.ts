/**
 * Tells a Prometheus Alertmanager of alerts, which groups, silences, inhibits and routes them to people: at least once, which
 * is harmless, since Alertmanager knows an alert by its labels. API v2, POST /api/v2/alerts
 * (https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml).
 *
 * An alert's labels are the detector as `alertname`, `pipeline`, `severity`, `column`, and those of its group (its name as
 * `metric`); all else are annotations, since they change. Labels of an alert that becomes more severe are others, so the less
 * severe ones end with it. Alertmanager takes an alert for resolved at its `endsAt`: what fires is given one that lies
 * `keepFor` ahead, and it is told when the alert has really ended. Nothing is sent again meanwhile.
 */
import {
  duration,
  integer,
  type OptionInputOf,
  type OptionsOf,
  optionSpec,
  url,
} from '../../engine/config/options.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import { DEFINITION, type SinkChoice } from '../../engine/contract/definition.ts'
import { SEVERITIES, type Severity } from '../../engine/contract/plan.ts'
import type { AtLeastOnceSink, SinkContext, SinkPlugin, SinkRecord } from '../../engine/contract/plugins.ts'
import { NAME_LABEL } from '../../engine/contract/samples.ts'
import type { Clock } from '../../engine/util/clock.ts'
import {
  checkTarget,
  HTTP_TOOLS,
  type HttpRequest,
  HttpSink,
  type HttpTools,
  httpOptions,
  httpUrl,
  jsonRequest,
} from './http-sink.ts'

const DAY_MS = 86_400_000

const options = optionSpec(
  {
    url: { type: httpUrl, meaning: 'of the Alertmanager, as in http://127.0.0.1:9093' },
    headers: httpOptions.headers,
    timeout: httpOptions.timeout,
    batch: { type: integer({ min: 1, max: 1_000 }), default: 64, meaning: 'transitions a request, at most' },
    maxInFlight: httpOptions.maxInFlight,
    keepFor: {
      type: duration({ minMs: 60_000, maxMs: 365 * DAY_MS }),
      default: '1d',
      meaning: 'Alertmanager ends an alert of which it has heard nothing for so long',
    },
    page: {
      type: url('http', 'https'),
      optional: true,
      meaning: 'where people look: the address of the live page, which Alertmanager links to as the source',
    },
  },
  checkTarget,
)

export type AlertmanagerOptions = OptionsOf<typeof options>

/** Tells a Prometheus Alertmanager which alerts fire and which have ended.
 *
 *     .to(alertmanager({ url: 'http://127.0.0.1:9093' }))
 */
export function alertmanager(written: OptionInputOf<typeof options>): SinkChoice {
  return { [DEFINITION]: { what: 'sink', kind: 'alertmanager', options: written } }
}

export const alertmanagerPlugin: SinkPlugin<AlertmanagerOptions> = {
  kind: 'alertmanager',
  summary: 'tells a Prometheus Alertmanager which alerts fire and which have ended, at least once',
  guarantee: 'at-least-once',
  feeds: ['alerts'],
  options,
  open: async (parsed, context) => openAlertmanager(parsed, context),
}

export function openAlertmanager(
  parsed: AlertmanagerOptions,
  context: SinkContext,
  tools: HttpTools = HTTP_TOOLS,
): AtLeastOnceSink {
  const target = {
    ...parsed,
    url: endpoint(parsed.url),
    remedy: 'the url and headers of the sink',
    request: (records: readonly SinkRecord[]) => requestOf(records, parsed, tools.clock),
  }
  return new HttpSink(target, context, tools)
}

/** People give the Alertmanager's address, with or without a path that a proxy serves it under. */
function endpoint(written: string): string {
  const to = new URL(written)
  const path = to.pathname.replace(/\/+$/, '')
  to.pathname = path.endsWith('/api/v2/alerts') ? path : `${path}/api/v2/alerts`
  return to.href
}

/** One alert as Alertmanager's API takes it. */
export interface PostedAlert {
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly startsAt: string
  readonly endsAt: string
  readonly generatorURL?: string
}

function requestOf(
  records: readonly SinkRecord[],
  { headers, keepForMs, page }: AlertmanagerOptions,
  clock: Clock,
): HttpRequest | null {
  const posted = records.flatMap(({ body }) =>
    body.kind === 'alert' ? postedAlerts(body, clock.nowMs(), keepForMs, page) : [],
  )
  return posted.length === 0 ? null : jsonRequest(records, headers, JSON.stringify(posted))
}

/** What a transition is to Alertmanager: nothing while pending; else the alert, and the end of its less severe selves. */
export function postedAlerts(alert: Alert, nowMs: number, keepForMs: number, page?: string): PostedAlert[] {
  if (alert.state === 'pending') return []
  const startsAt = time(alert.sinceMs)
  // Alertmanager refuses an end before the beginning, and takes one that lies ahead for an alert that still fires.
  const endedMs = Math.max(alert.sinceMs, Math.min(alert.atMs, nowMs))
  const endsMs = alert.state === 'firing' ? Math.max(alert.sinceMs, nowMs) + keepForMs : endedMs
  const rank = SEVERITIES.indexOf(alert.severity)
  const source = page === undefined ? {} : { generatorURL: page }
  return SEVERITIES.slice(0, rank + 1).map((severity) => {
    const isIt = severity === alert.severity
    return {
      labels: labelsOf(alert, severity),
      annotations: annotationsOf(alert),
      startsAt,
      endsAt: time(isIt ? endsMs : endedMs),
      ...source,
    }
  })
}

/** Names that the alert itself gives; labels of the group that are called so too become `exported_…`, as with Prometheus. */
const OWN_LABELS = ['alertname', 'pipeline', 'severity', 'column'] as const

function labelsOf({ detector, pipeline, column, group }: Alert, severity: Severity): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const [written, value] of Object.entries(group)) {
    const name = written === NAME_LABEL ? 'metric' : written
    const allowed = name.replace(/[^a-zA-Z0-9_]/g, '_').replace(/^(?=\d)/, '_')
    labels[OWN_LABELS.some((own) => own === allowed) ? `exported_${allowed}` : allowed] = value
  }
  labels.alertname = detector
  labels.pipeline = pipeline
  labels.severity = severity
  if (column !== null) labels.column = column
  return labels
}

function annotationsOf(alert: Alert): Record<string, string> {
  const annotations: Record<string, string> = {
    summary: alert.reason,
    id: alert.id,
    direction: alert.direction,
  }
  for (const name of ['value', 'expected', 'lower', 'upper', 'score'] as const) {
    if (alert[name] !== null) annotations[name] = String(alert[name])
  }
  if (alert.flapping) annotations.flapping = 'true'
  return annotations
}

function time(ms: number): string {
  return new Date(ms).toISOString()
}
