/**
 * PromQL from the metric catalogue: an expression names a metric only through its constant, so that a renamed metric is
 * a type error here and not an empty panel there. `$__rate_interval` is Grafana's; rules give a range of their own.
 */
import type { Metric } from '../engine/metrics/metric.ts'

/** Selects every node that a dashboard's variables choose. */
export const NODES = 'job=~"$job",instance=~"$instance"'
const GRAFANA_RANGE = '$__rate_interval'

type Named = Pick<Metric, 'name'>
type Histogram = Metric<string, 'histogram'>

export interface Selection {
  /** Label matchers, as between braces: `code="5xx"`. */
  readonly where?: string
  /** Range of a rate: `5m`. */
  readonly range?: string
}

/** The metric itself: `name{matchers}`. */
export function series(metric: Named, where = NODES): string {
  return where === '' ? metric.name : `${metric.name}{${where}}`
}

/** Per-second rate of a counter. */
export function rate(metric: Named, { where = NODES, range = GRAFANA_RANGE }: Selection = {}): string {
  return `rate(${series(metric, where)}[${range}])`
}

export function sumBy(labels: string, expression: string): string {
  return labels === '' ? `sum(${expression})` : `sum by (${labels}) (${expression})`
}

/** Quantile `q` of a histogram over all its series, or apart by `labels`. */
export function quantile(
  q: number,
  metric: Histogram,
  { where = NODES, range = GRAFANA_RANGE, by = '' }: Selection & { readonly by?: string } = {},
): string {
  const labels = by === '' ? 'le' : `le, ${by}`
  return `histogram_quantile(${q}, sum by (${labels}) (rate(${metric.name}_bucket{${where}}[${range}])))`
}

/** How many observations a second a histogram took. */
export function observations(metric: Histogram, selection: Selection = {}): string {
  return rate({ name: `${metric.name}_count` }, selection)
}
