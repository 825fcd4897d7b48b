/** docs/monitoring.md: how to set it up, every metric, every alert with what to do. From the catalogue and the rules. */
import { CATALOG, DERIVED } from '../engine/metrics/catalog.ts'
import type { Metric } from '../engine/metrics/metric.ts'
import { ALERT_RULES, RECORDING_RULES } from './prometheus/rules.ts'

export function monitoringPage(): string {
  return `<!-- Made by \`npm run dashboards\` from the metric catalogue and dashboards/prometheus/rules.ts: change those. -->
# Monitoring millrace with Prometheus and Grafana

A node serves its metrics at \`/metrics\`. What it takes:

1. Let Prometheus scrape it and load the rules
   ([prometheus.yml](../dashboards/provisioning/prometheus/prometheus.yml) is a complete example):

       scrape_configs:
         - job_name: millrace
           static_configs: [{ targets: ['127.0.0.1:8428'] }]
       rule_files: [millrace-rules.yaml]

2. Give Grafana the folder [dashboards/provisioning/grafana](../dashboards/provisioning/README.md): data source, provider and
   the dashboards *Overview*, *Pipeline*, *Detection*. Or import the JSON files by hand; each asks for its data source.

       GF_PATHS_PROVISIONING=/path/to/grafana MILLRACE_DASHBOARDS=/path/to/grafana/dashboards grafana server

3. Alerts about millrace itself come from the rules below. What its detectors find goes to the sinks of your pipelines.

## Alerts, and what to do

${ALERT_RULES.map(
  (rule) => `### ${rule.alert}
${rule.severity}${rule.for === '0m' ? ', at once' : `, after ${rule.for}`}: \`${rule.expr}\`

${rule.action}
`,
).join('\n')}
## Recorded series

| series | expression |
|---|---|
${RECORDING_RULES.map((rule) => `| \`${rule.record}\` | \`${cell(rule.expr)}\` |`).join('\n')}

## Metrics

Histograms have the usual \`_bucket\`, \`_sum\` and \`_count\`. Beyond these there are those of the process that prom-client
gives (\`process_*\`, \`nodejs_*\`). At most 32 topics, 64 pipelines, 128 sinks and 128 detectors are told apart; the rest is summed under \`other\`.

| metric | type | labels | what it says |
|---|---|---|---|
${CATALOG.map((metric) => `| \`${metric.name}\` | ${metric.type} | ${labels(metric)} | ${cell(metric.help)} |`).join('\n')}
${Object.values(DERIVED)
  .map(
    (metric) =>
      `| \`${metric.name}\` | gauge | ${DERIVED_LABELS[metric.name] ?? ''} | ${cell(metric.help)} |`,
  )
  .join('\n')}
`
}

const SCOPE_LABELS = {
  node: [],
  thread: ['thread'],
  topic: ['topic'],
  pipeline: ['pipeline'],
  sink: ['pipeline', 'sink'],
  detector: ['pipeline', 'detector'],
} as const

const OF_SERIES = '`pipeline`, `detector`, `series`'
const DERIVED_LABELS: Readonly<Record<string, string>> = {
  [DERIVED.watermarkLag.name]: '`pipeline`',
  [DERIVED.heartbeatAge.name]: '`thread`',
  [DERIVED.seriesValue.name]: OF_SERIES,
  [DERIVED.seriesScore.name]: OF_SERIES,
  [DERIVED.seriesExpected.name]: OF_SERIES,
  [DERIVED.seriesLower.name]: OF_SERIES,
  [DERIVED.seriesUpper.name]: OF_SERIES,
  [DERIVED.buildInfo.name]: '`version`, `node`',
}

/** Labels of a metric, as `engine/metrics/exporter.ts` gives them. */
export function labelsOf(metric: Pick<Metric, 'scope' | 'label'>): readonly string[] {
  return metric.label === null ? SCOPE_LABELS[metric.scope] : [...SCOPE_LABELS[metric.scope], metric.label]
}

function labels(metric: Metric): string {
  return labelsOf(metric)
    .map((label) => `\`${label}\`${label === metric.label ? ` (${metric.values.join(', ')})` : ''}`)
    .join(', ')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
