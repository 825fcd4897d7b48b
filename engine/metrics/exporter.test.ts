import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { ManualClock } from '../util/clock.ts'
import {
  COMMIT_DURATION,
  INGEST_REFUSED_SAMPLES,
  INGEST_SAMPLES,
  LOG_SERIES,
  LOG_SIZE,
  PIPELINE_LAG,
  PIPELINE_SAMPLES,
  PIPELINE_WATERMARK,
  SINK_RECORDS,
  THREAD_HEARTBEAT,
} from './catalog.ts'
import { createExporter, type ExporterOptions } from './exporter.ts'
import { readMetric, readQuantile } from './merge.ts'
import { ROWS_MAX } from './metric.ts'
import { createMetricsBlock, ThreadMetrics } from './thread-metrics.ts'

const names = {
  topics: () => ['metrics'],
  pipelines: () => ['checkout-latency', 'disk'],
  sinks: () => [{ pipeline: 'disk', sink: 'file' }],
  detectors: () => [{ pipeline: 'disk', detector: 'free-ewma' }],
}

function node(overrides: Partial<ExporterOptions> = {}) {
  const blocks = ['main', 'shard-0', 'shard-1'].map((thread) => ({ thread, block: createMetricsBlock() }))
  const [main, shard0, shard1] = blocks.map(({ block }) => new ThreadMetrics(block))
  const clock = new ManualClock(100_000)
  const exporter = createExporter({
    blocks: () => blocks,
    names,
    ready: () => true,
    version: '0.1.0',
    clock,
    ...overrides,
  })
  return { blocks, main: main!, shard0: shard0!, shard1: shard1!, clock, exporter }
}

/** Samples of the text format by name and labels as printed; throws on a line that is none. */
function parse(body: string): Map<string, number> {
  const samples = new Map<string, number>()
  for (const line of body.split('\n')) {
    if (line === '' || line.startsWith('# ')) continue
    const match = /^([a-z_][a-z0-9_]*(?:\{(?:[a-z_]+="[^"]*",?)*\})?) (\S+)$/.exec(line)
    if (match === null) throw new Error(`not a sample: ${line}`)
    expect(samples.has(match[1]!), line).toBe(false)
    samples.set(match[1]!, Number(match[2]))
  }
  return samples
}

describe('the exporter', () => {
  it('adds up counters over threads and keeps rows and label values apart', async () => {
    const { main, shard0, shard1, exporter } = node()
    main.add(INGEST_SAMPLES, 10)
    main.add(INGEST_REFUSED_SAMPLES, 2, 0, 'future')
    shard0.add(PIPELINE_SAMPLES, 5, 1, 'late')
    shard1.add(PIPELINE_SAMPLES, 7, 1, 'late')
    main.add(SINK_RECORDS, 3, 0)
    const samples = parse((await exporter.scrape()).body)
    expect(samples.get('millrace_ingest_samples_total')).toBe(10)
    expect(samples.get('millrace_ingest_refused_samples_total{reason="future"}')).toBe(2)
    expect(samples.get('millrace_ingest_refused_samples_total{reason="series_limit"}')).toBe(0)
    expect(samples.get('millrace_pipeline_samples_total{pipeline="disk",fate="late"}')).toBe(12)
    expect(samples.get('millrace_pipeline_samples_total{pipeline="checkout-latency",fate="late"}')).toBe(0)
    expect(samples.get('millrace_sink_records_total{pipeline="disk",sink="file"}')).toBe(3)
  })

  it('gives the same numbers to a second scrape', async () => {
    const { main, exporter } = node()
    main.add(INGEST_SAMPLES, 10)
    main.observe(COMMIT_DURATION, 0.01)
    await exporter.scrape()
    const samples = parse((await exporter.scrape()).body)
    expect(samples.get('millrace_ingest_samples_total')).toBe(10)
    expect(samples.get('millrace_commit_duration_seconds_count')).toBe(1)
  })

  it('shows histograms with cumulative buckets, sum and count', async () => {
    const { shard0, shard1, exporter, blocks } = node()
    shard0.observe(COMMIT_DURATION, 0.001)
    shard1.observe(COMMIT_DURATION, 0.004)
    const samples = parse((await exporter.scrape()).body)
    const bucket = (le: string) => samples.get(`millrace_commit_duration_seconds_bucket{le="${le}"}`)
    expect([bucket('0.000512'), bucket('0.001024'), bucket('0.004096'), bucket('+Inf')]).toEqual([0, 1, 2, 2])
    expect(samples.get('millrace_commit_duration_seconds_sum')).toBeCloseTo(0.005)
    expect(samples.get('millrace_commit_duration_seconds_count')).toBe(2)
    const cells = blocks.map(({ block }) => new Float64Array(block))
    expect(readQuantile(COMMIT_DURATION, cells, 1)).toBeCloseTo(0.004, 3)
  })

  it('shows a gauge only where it was set, and merges it as the catalogue says', async () => {
    const { main, shard0, shard1, exporter } = node()
    shard0.set(PIPELINE_LAG, 4, 0)
    shard1.set(PIPELINE_LAG, 6, 0)
    shard0.set(PIPELINE_WATERMARK, 90, 0)
    shard1.set(PIPELINE_WATERMARK, 95, 0)
    main.set(LOG_SERIES, 0, 0)
    const samples = parse((await exporter.scrape()).body)
    expect(samples.get('millrace_pipeline_lag_offsets{pipeline="checkout-latency"}')).toBe(10)
    expect(samples.has('millrace_pipeline_lag_offsets{pipeline="disk"}')).toBe(false)
    expect(samples.get('millrace_pipeline_watermark_timestamp_seconds{pipeline="checkout-latency"}')).toBe(90)
    expect(samples.get('millrace_log_series{topic="metrics"}')).toBe(0)
    expect(samples.has('millrace_log_size_bytes')).toBe(false)
    main.set(LOG_SIZE, 4096)
    expect(parse((await exporter.scrape()).body).get('millrace_log_size_bytes')).toBe(4096)
  })

  it('lets lag and age grow while the thread that reports them is stuck', async () => {
    const { shard0, clock, exporter } = node()
    shard0.set(PIPELINE_WATERMARK, 90, 0)
    shard0.set(THREAD_HEARTBEAT, 99)
    clock.advance(30_000)
    const samples = parse((await exporter.scrape()).body)
    expect(samples.get('millrace_pipeline_watermark_lag_seconds{pipeline="checkout-latency"}')).toBe(40)
    expect(samples.get('millrace_thread_heartbeat_age_seconds{thread="shard-0"}')).toBe(31)
    expect(samples.has('millrace_thread_heartbeat_age_seconds{thread="main"}')).toBe(false)
  })

  it('puts rows beyond the limit together, never outside their cells', async () => {
    const pipelines = Array.from({ length: ROWS_MAX.pipeline + 10 }, (_, i) => `p${i}`)
    const { shard0, exporter, blocks } = node({ names: { ...names, pipelines: () => pipelines } })
    for (let row = 0; row < pipelines.length; row++) shard0.add(PIPELINE_SAMPLES, 1, row, 'filtered')
    const samples = parse((await exporter.scrape()).body)
    const kept = ROWS_MAX.pipeline - 1
    expect(samples.get('millrace_pipeline_samples_total{pipeline="other",fate="filtered"}')).toBe(
      pipelines.length - kept,
    )
    expect(samples.get(`millrace_pipeline_samples_total{pipeline="p${kept - 1}",fate="filtered"}`)).toBe(1)
    const cells = blocks.map(({ block }) => new Float64Array(block))
    expect(readMetric(PIPELINE_SAMPLES, cells, 0, 'late')).toBe(0)
  })

  it('tells what runs and whether it is ready', async () => {
    let ready = false
    const { exporter } = node({ ready: () => ready })
    const before = parse((await exporter.scrape()).body)
    expect(before.get('millrace_up')).toBe(0)
    expect(before.get(`millrace_build_info{version="0.1.0",node="${process.version}"}`)).toBe(1)
    ready = true
    expect(parse((await exporter.scrape()).body).get('millrace_up')).toBe(1)
  })

  const promtool = process.env.PROMTOOL ?? 'promtool'
  const installed = spawnSync(promtool, ['--version']).status === 0
  it.skipIf(!installed)('is clean under promtool check metrics (where promtool is on the PATH)', async () => {
    const { main, shard0, shard1, exporter } = node()
    main.add(INGEST_SAMPLES, 10)
    shard0.set(PIPELINE_WATERMARK, 90, 0)
    shard0.set(PIPELINE_LAG, 4, 0)
    shard1.observe(COMMIT_DURATION, 0.004)
    shard1.set(THREAD_HEARTBEAT, 99)
    main.set(LOG_SIZE, 4096)
    main.set(LOG_SERIES, 7)
    const check = spawnSync(promtool, ['check', 'metrics'], { input: (await exporter.scrape()).body })
    expect(`${check.stdout}${check.stderr}`).toBe('')
    expect(check.status).toBe(0)
  })

  it('tells scores and bands where they are wanted, of one look a scrape, and nothing of what is not finite', async () => {
    let looks = 0
    const row = { pipeline: 'disk', detector: 'free-ewma', value: 5, score: 1.5, expected: 4, lower: 3 }
    const { exporter } = node({
      scores: () => {
        looks++
        return looks === 1
          ? {
              rows: [
                { ...row, series: '{host="a"}', upper: Infinity },
                { ...row, series: '{host="b"}', score: NaN, upper: 9 },
              ],
              leftOut: 7,
            }
          : { rows: [], leftOut: 0 }
      },
    })
    const series = (samples: Map<string, number>): string[] =>
      [...samples]
        .filter(([name]) => name.startsWith('millrace_series'))
        .map(([name, value]) => `${name} ${value}`)
    const labels = (host: string): string =>
      `{pipeline="disk",detector="free-ewma",series="{host=\\"${host}\\"}"}`
    const body = (await exporter.scrape()).body
    const lines = body.split('\n').filter((line) => line.startsWith('millrace_series'))
    expect(lines).toEqual([
      `millrace_series_value${labels('a')} 5`,
      `millrace_series_value${labels('b')} 5`,
      `millrace_series_score${labels('a')} 1.5`,
      `millrace_series_expected${labels('a')} 4`,
      `millrace_series_expected${labels('b')} 4`,
      `millrace_series_lower${labels('a')} 3`,
      `millrace_series_lower${labels('b')} 3`,
      `millrace_series_upper${labels('b')} 9`,
      'millrace_series_left_out 7',
    ])
    expect(series(parse((await exporter.scrape()).body))).toEqual(['millrace_series_left_out 0'])
    expect((await node().exporter.scrape()).body).not.toContain('millrace_series_')
  })
})
