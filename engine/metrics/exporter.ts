/**
 * Publishes the threads' blocks through prom-client. Everything happens in `collect()`, at the time of the scrape: the
 * hot paths never call prom-client. A registry of its own, so that a program that embeds the engine keeps its default
 * one to itself. Every topic, pipeline and sink has its series from the start, at 0, so that rates see the first step.
 */
import { Counter, collectDefaultMetrics, Gauge, type MetricObjectWithValues, Registry } from 'prom-client'
import type { Clock } from '../util/clock.ts'
import { CATALOG, DERIVED, PIPELINE_WATERMARK, THREAD_HEARTBEAT } from './catalog.ts'
import { summarize } from './histogram.ts'
import { readHistogram, readMetric } from './merge.ts'
import { type Metric, OTHER } from './metric.ts'

export interface ThreadBlock {
  readonly thread: string
  readonly block: SharedArrayBuffer
}

/** What rows stand for; positions never change, new names are added at the end. */
export interface RowNames {
  topics(): readonly string[]
  pipelines(): readonly string[]
  sinks(): readonly { readonly pipeline: string; readonly sink: string }[]
  detectors(): readonly { readonly pipeline: string; readonly detector: string }[]
}

export interface ExporterOptions {
  readonly blocks: () => readonly ThreadBlock[]
  readonly names: RowNames
  readonly ready: () => boolean
  readonly version: string
  readonly clock: Clock
  /** Scores and bands as of now, where they are wanted: asked once a scrape. */
  readonly scores?: () => ScoreSeries
}

export interface ScoreSeries {
  /** What is not finite is left out. */
  readonly rows: readonly {
    readonly pipeline: string
    readonly detector: string
    readonly series: string
    readonly value: number
    readonly score: number
    readonly expected: number
    readonly lower: number
    readonly upper: number
  }[]
  readonly leftOut: number
}

export interface Exposition {
  readonly contentType: string
  readonly body: string
}

export interface Exporter {
  readonly registry: Registry
  scrape(): Promise<Exposition>
}

type LabelSet = Readonly<Record<string, string>>

interface Row {
  readonly row: number
  readonly labels: LabelSet
  readonly cells: readonly Float64Array[]
}

export function createExporter(options: ExporterOptions): Exporter {
  const registry = new Registry()
  for (const metric of CATALOG) publish(registry, metric, options)
  publishDerived(registry, options)
  publishProcess(registry)
  const { scores } = options
  const refresh = scores === undefined ? () => {} : publishScores(registry, scores)
  return {
    registry,
    scrape: async () => {
      refresh()
      return { contentType: registry.contentType, body: await registry.metrics() }
    },
  }
}

function publish(registry: Registry, metric: Metric, options: ExporterOptions): void {
  const rows = () => rowsOf(metric, options)
  if (isHistogram(metric)) {
    registerHistogram(registry, metric, rows)
    return
  }
  const labelNames = labelNamesOf(metric)
  const settings = { name: metric.name, help: metric.help, labelNames, registers: [registry] }
  if (metric.type === 'counter') {
    new Counter({
      ...settings,
      collect() {
        this.reset()
        for (const { labels, value } of points(metric, rows())) this.inc(labels, value)
      },
    })
  } else {
    new Gauge({
      ...settings,
      collect() {
        this.reset()
        for (const { labels, value } of points(metric, rows())) {
          // `reset` gives a gauge without labels the value 0, and unset is not 0.
          if (!Number.isNaN(value)) this.set(labels, value)
          else if (labelNames.length === 0) this.remove()
        }
      },
    })
  }
}

function isHistogram(metric: Metric): metric is Metric<string, 'histogram'> {
  return metric.type === 'histogram'
}

function* points(metric: Metric, rows: readonly Row[]): Generator<{ labels: LabelSet; value: number }> {
  for (const { row, labels, cells } of rows) {
    for (const value of metric.values) {
      const labelled = metric.label === null ? labels : { ...labels, [metric.label]: value }
      yield { labels: labelled, value: readMetric(metric, cells, row, value) }
    }
  }
}

/** prom-client's Histogram only takes observations one by one; the registry asks no more of a metric than `get`. */
function registerHistogram(
  registry: Registry,
  metric: Metric<string, 'histogram'>,
  rows: () => readonly Row[],
): void {
  const histogram = {
    name: metric.name,
    get: async () => ({
      name: metric.name,
      help: metric.help,
      type: 'histogram' as const,
      aggregator: 'sum' as const,
      values: rows().flatMap(({ row, labels, cells }) =>
        metric.values.flatMap((value) => {
          const labelled = metric.label === null ? labels : { ...labels, [metric.label]: value }
          return histogramValues(metric.name, labelled, readHistogram(metric, cells, row, value))
        }),
      ),
    }),
  }
  registry.registerMetric(histogram as unknown as Counter)
}

type HistogramValue = MetricObjectWithValues<{
  value: number
  metricName?: string
  labels: Partial<Record<string, string | number>>
}>['values'][number]

function histogramValues(name: string, labels: LabelSet, cells: Float64Array): HistogramValue[] {
  const { count, sumSeconds, buckets } = summarize(cells, 0)
  const metricName = `${name}_bucket`
  return [
    ...buckets.map((bucket) => ({
      metricName,
      labels: { ...labels, le: bucket.leSeconds },
      value: bucket.count,
    })),
    { metricName, labels: { ...labels, le: '+Inf' }, value: count },
    { metricName: `${name}_sum`, labels, value: sumSeconds },
    { metricName: `${name}_count`, labels, value: count },
  ]
}

function publishDerived(registry: Registry, options: ExporterOptions): void {
  const { clock } = options
  publishAge(registry, DERIVED.watermarkLag, PIPELINE_WATERMARK, options)
  publishAge(registry, DERIVED.heartbeatAge, THREAD_HEARTBEAT, options)
  const info = new Gauge({
    ...DERIVED.buildInfo,
    labelNames: ['version', 'node'],
    registers: [registry],
  })
  info.set({ version: options.version, node: process.version }, 1)
  new Gauge({
    ...DERIVED.up,
    registers: [registry],
    collect() {
      this.set(options.ready() ? 1 : 0)
    },
  })

  function publishAge(
    into: Registry,
    settings: { name: string; help: string },
    of: Metric,
    from: ExporterOptions,
  ): void {
    new Gauge({
      ...settings,
      labelNames: labelNamesOf(of),
      registers: [into],
      collect() {
        this.reset()
        for (const { labels, value } of points(of, rowsOf(of, from))) {
          if (Number.isFinite(value)) this.set(labels, Math.max(0, clock.nowMs() / 1000 - value))
        }
      },
    })
  }
}

/** Returns what fills them in, once a scrape, so that all of them are of the same windows. */
function publishScores(registry: Registry, scores: () => ScoreSeries): () => void {
  const gauge = (settings: { name: string; help: string }, labelNames: string[]): Gauge<string> =>
    new Gauge({ ...settings, labelNames, registers: [registry] })
  const labelNames = ['pipeline', 'detector', 'series']
  const columns = [
    { of: 'value', gauge: gauge(DERIVED.seriesValue, labelNames) },
    { of: 'score', gauge: gauge(DERIVED.seriesScore, labelNames) },
    { of: 'expected', gauge: gauge(DERIVED.seriesExpected, labelNames) },
    { of: 'lower', gauge: gauge(DERIVED.seriesLower, labelNames) },
    { of: 'upper', gauge: gauge(DERIVED.seriesUpper, labelNames) },
  ] as const
  const leftOut = gauge(DERIVED.seriesLeftOut, [])
  return () => {
    const told = scores()
    leftOut.set(told.leftOut)
    for (const column of columns) {
      column.gauge.reset()
      for (const row of told.rows) {
        const { pipeline, detector, series } = row
        const value = row[column.of]
        if (Number.isFinite(value)) column.gauge.set({ pipeline, detector, series }, value)
      }
    }
  }
}

/** Node's own metrics, without those whose names break Prometheus' rules (gauges that end in `_total`). */
function publishProcess(registry: Registry): void {
  const own = new Set(registry.getMetricsAsArray().map(({ name }) => name))
  collectDefaultMetrics({ register: registry })
  for (const { name } of registry.getMetricsAsArray()) {
    const metric = registry.getSingleMetric(name)
    if (!own.has(name) && metric instanceof Gauge && name.endsWith('_total'))
      registry.removeSingleMetric(name)
  }
}

function labelNamesOf(metric: Metric): string[] {
  const names: Record<Metric['scope'], string[]> = {
    node: [],
    thread: ['thread'],
    topic: ['topic'],
    pipeline: ['pipeline'],
    sink: ['pipeline', 'sink'],
    detector: ['pipeline', 'detector'],
  }
  return metric.label === null ? names[metric.scope] : [...names[metric.scope], metric.label]
}

function rowsOf(metric: Metric, { blocks, names }: ExporterOptions): Row[] {
  const threads = blocks().map(({ thread, block }) => ({ thread, cells: new Float64Array(block) }))
  const cells = threads.map((thread) => thread.cells)
  switch (metric.scope) {
    case 'node':
      return [{ row: 0, labels: {}, cells }]
    case 'thread':
      return threads.map((each) => ({ row: 0, labels: { thread: each.thread }, cells: [each.cells] }))
    case 'topic':
      return named(
        names.topics().map((topic) => ({ topic })),
        { topic: OTHER },
      )
    case 'pipeline':
      return named(
        names.pipelines().map((pipeline) => ({ pipeline })),
        { pipeline: OTHER },
      )
    case 'sink':
      return named(names.sinks(), { pipeline: OTHER, sink: OTHER })
    case 'detector':
      return named(names.detectors(), { pipeline: OTHER, detector: OTHER })
  }

  function named(labels: readonly LabelSet[], other: LabelSet): Row[] {
    const last = metric.rowsMax - 1
    const kept = labels.slice(0, last).map((each, row) => ({ row, labels: { ...each }, cells }))
    return labels.length > last ? [...kept, { row: last, labels: other, cells }] : kept
  }
}
