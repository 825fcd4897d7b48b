/**
 * The rules under `promtool test rules`: each alert keeps quiet while all is well and fires when it is not. Every
 * expression of dashboards and rules run on a real Prometheus that scrapes a real node, and answered.
 * Debian: apt-get install prometheus.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { expressionsOf, forEverything } from '../../dashboards/expressions.ts'
import { ALERT_RULES, RECORDING_RULES } from '../../dashboards/prometheus/rules.ts'
import { freePort, json, scratch, start, until, write, writePipeline } from './process.ts'

const has = (program: string): boolean => spawnSync('which', [program]).status === 0
const RULES = resolve('dashboards/provisioning/prometheus/millrace-rules.yaml')

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const NODE = 'job="millrace",instance="n1"'
const CPU = `${NODE},pipeline="cpu"`
const WEBHOOK = `${CPU},sink="webhook"`
const SHARD = `${NODE},thread="shard-0"`

interface RuleCase {
  readonly alert: string
  /** Selector → values, a minute apart, in promtool's notation. */
  readonly given: Readonly<Record<string, string>>
  /** When all is still well; null: what is given is trouble from the start. */
  readonly quietAt: string | null
  readonly firesAt: string
  readonly labels?: Readonly<Record<string, string>>
  readonly summary: string
}

const CASES: readonly RuleCase[] = [
  {
    alert: 'MillraceNotReady',
    given: { [`millrace_up{${NODE}}`]: '1x5 0x10' },
    quietAt: '6m',
    firesAt: '8m',
    summary: 'n1 has not been ready for a minute.',
  },
  {
    alert: 'MillraceDiskFull',
    given: { [`millrace_disk_low{${NODE}}`]: '0x5 1x10' },
    quietAt: '6m',
    firesAt: '8m',
    summary: 'n1 takes nothing in: its disk is nearly full.',
  },
  {
    alert: 'MillraceDiskFillsUp',
    given: {
      [`millrace_disk_free_bytes{${NODE}}`]: '100000x60 100000-400x100',
      [`millrace_disk_reserve_bytes{${NODE}}`]: '1000x200',
    },
    quietAt: '59m',
    firesAt: '140m',
    summary: 'The disk of n1 will be full within six hours.',
  },
  {
    alert: 'MillraceIntakeFails',
    given: { [`millrace_ingest_requests_total{${NODE},outcome="failed"}`]: '0x10 0+60x20' },
    quietAt: '9m',
    firesAt: '20m',
    summary: 'n1 fails 1 write requests a second.',
  },
  {
    alert: 'MillraceIntakeRefused',
    given: {
      [`millrace_ingest_requests_total{${NODE},outcome="stored"}`]: '0+540x60',
      [`millrace_ingest_requests_total{${NODE},outcome="refused"}`]: '0x20 0+60x40',
    },
    quietAt: '19m',
    firesAt: '50m',
    summary: 'n1 refuses 10% of its write requests.',
  },
  {
    alert: 'MillraceSeriesLimitNear',
    given: {
      [`millrace_log_series{${NODE},topic="metrics"}`]: '80x10 95x30',
      [`millrace_log_series_limit{${NODE},topic="metrics"}`]: '100x40',
    },
    quietAt: '9m',
    firesAt: '30m',
    labels: { topic: 'metrics' },
    summary: 'Topic metrics of n1 has 95% of the series allowed.',
  },
  {
    alert: 'MillracePipelineBehind',
    given: {
      [`millrace_pipeline_watermark_lag_seconds{${CPU}}`]: '5x10 600x30',
      [`millrace_pipeline_samples_in_total{${CPU}}`]: '0+60x60',
    },
    quietAt: '9m',
    firesAt: '30m',
    labels: { pipeline: 'cpu' },
    summary: 'Pipeline cpu on n1 is 10m 0s behind.',
  },
  {
    alert: 'MillracePipelineStarved',
    given: { [`millrace_pipeline_samples_in_total{${CPU}}`]: '0+60x60 3600x40' },
    quietAt: '59m',
    firesAt: '80m',
    labels: { pipeline: 'cpu' },
    summary: 'Pipeline cpu on n1 has seen nothing for ten minutes.',
  },
  {
    alert: 'MillraceLateSamples',
    given: {
      [`millrace_pipeline_samples_total{${CPU},fate="late"}`]: '0x20 0+6x60',
      [`millrace_pipeline_samples_in_total{${CPU}}`]: '0+60x80',
    },
    quietAt: '19m',
    firesAt: '60m',
    labels: { pipeline: 'cpu' },
    summary: '10% of the samples of cpu come too late for their windows.',
  },
  {
    alert: 'MillraceDeadLetters',
    given: { [`millrace_pipeline_dead_letters_total{${CPU}}`]: '0x10 1x5' },
    quietAt: '9m',
    firesAt: '12m',
    labels: { pipeline: 'cpu' },
    summary: 'Pipeline cpu on n1 gave up a record batch.',
  },
  {
    alert: 'MillraceThreadRestarts',
    given: { [`millrace_thread_restarts_total{${SHARD}}`]: '0x10 1x2 5x20' },
    quietAt: '12m',
    firesAt: '16m',
    labels: { thread: 'shard-0' },
    summary: 'Thread shard-0 of n1 was restarted 5 times in 15 minutes.',
  },
  {
    alert: 'MillraceThreadStuck',
    given: { [`millrace_thread_heartbeat_age_seconds{${SHARD}}`]: '1x10 120x10' },
    quietAt: '9m',
    firesAt: '15m',
    labels: { thread: 'shard-0' },
    summary: 'Thread shard-0 of n1 has stood still for 2m 0s.',
  },
  {
    alert: 'MillraceSinkStuck',
    given: {
      [`millrace_sink_lag_entries{${WEBHOOK}}`]: '5x60',
      [`millrace_sink_records_total{${WEBHOOK}}`]: '0+5x20 100x40',
    },
    quietAt: '19m',
    firesAt: '50m',
    labels: { pipeline: 'cpu', sink: 'webhook' },
    summary: 'Sink webhook of cpu delivers nothing; 5 entries wait.',
  },
  {
    alert: 'MillraceSinkRefused',
    given: { [`millrace_sink_dead_records_total{${WEBHOOK}}`]: '0x10 1x14' },
    quietAt: '9m',
    firesAt: '24m',
    labels: { pipeline: 'cpu', sink: 'webhook' },
    summary: 'Sink webhook of cpu: the target refused 1 records for good.',
  },
  {
    alert: 'MillraceDetectorUnfit',
    given: {
      [`millrace_detector_series{${CPU},detector="mean-ewma",health="ok"}`]: '90x120',
      [`millrace_detector_series{${CPU},detector="mean-ewma",health="saturated"}`]: '4x30 10x90',
      [`millrace_detector_series{${CPU},detector="mean-ewma",health="blind"}`]: '0x120',
    },
    quietAt: '59m',
    firesAt: '65m',
    labels: { pipeline: 'cpu', detector: 'mean-ewma', health: 'saturated' },
    summary: 'Detector mean-ewma of cpu is saturated for 10% of its series.',
  },
  {
    alert: 'MillraceCheckpointOld',
    given: {
      [`millrace_checkpoint_timestamp_seconds{${CPU}}`]: '0x40',
      [`millrace_pipeline_samples_in_total{${CPU}}`]: '0+60x60',
    },
    quietAt: '9m',
    firesAt: '20m',
    labels: { pipeline: 'cpu' },
    summary: 'The newest checkpoint of cpu is 20m 0s old.',
  },
  {
    alert: 'MillraceDiskSlow',
    given: {
      [`millrace_log_commit_duration_seconds_bucket{${NODE},le="0.1"}`]: '0+60x20 1200x60',
      [`millrace_log_commit_duration_seconds_bucket{${NODE},le="1"}`]: '0+60x80',
      [`millrace_log_commit_duration_seconds_bucket{${NODE},le="+Inf"}`]: '0+60x80',
    },
    quietAt: '19m',
    firesAt: '50m',
    summary: 'The log of n1 needs 991ms to be durable (p99).',
  },
]

test('every alert has its case', () => {
  expect(CASES.map((one) => one.alert)).toEqual(ALERT_RULES.map((rule) => rule.alert))
})

test.skipIf(!has('promtool'))('promtool test rules: quiet while all is well, firing when it is not', () => {
  const dir = scratch(cleanups)
  const tests = CASES.map(({ alert, given, quietAt, firesAt, labels, summary }) => {
    const rule = ALERT_RULES.find((one) => one.alert === alert)
    return {
      name: alert,
      interval: '1m',
      input_series: Object.entries(given).map(([series, values]) => ({ series, values })),
      alert_rule_test: [
        ...(quietAt === null ? [] : [{ eval_time: quietAt, alertname: alert, exp_alerts: [] }]),
        {
          eval_time: firesAt,
          alertname: alert,
          exp_alerts: [
            {
              exp_labels: { job: 'millrace', instance: 'n1', ...labels, severity: rule?.severity },
              exp_annotations: { summary, description: rule?.action },
            },
          ],
        },
      ],
    }
  })
  const file = join(dir, 'rules.test.yaml')
  writeFileSync(file, stringify({ rule_files: [RULES], evaluation_interval: '1m', tests }))
  const run = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' })
  expect(`${run.stdout}${run.stderr}`).toContain('SUCCESS')
  expect(run.status).toBe(0)
})

const pipelineInto = (
  file: string,
): string => `export default pipeline('cpu').from(topic('metrics')).disorder('1s')
  .window(tumbling('1s'), { mean: mean() }).detect('mean', threshold({ below: -1e9, above: 1e9 })).to(ndjsonFile({ path: ${JSON.stringify(file)} }))`

test.skipIf(!has('prometheus'))(
  'every expression is answered by a Prometheus that scrapes a node',
  async () => {
    const dir = scratch(cleanups)
    const running = await start(
      [
        'run',
        writePipeline(dir, pipelineInto(join(dir, 'alerts.ndjson'))),
        ...['--data', join(dir, 'data'), '--score-series', '20'],
      ],
      cleanups,
    )
    const send = async (): Promise<void> => {
      const lines: string[] = []
      for (let i = 0; i < 100; i++)
        lines.push(`cpu,host=h${i % 10} value=${i} ${Date.now() - 5_000 + i * 50}`)
      expect((await write(running.url, lines.join('\n'))).status).toBe(204)
    }
    await send()
    const port = await freePort()
    const tsdb = join(dir, 'tsdb')
    mkdirSync(tsdb)
    const config = join(dir, 'prometheus.yml')
    writeFileSync(
      config,
      stringify({
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: [RULES],
        scrape_configs: [
          { job_name: 'millrace', static_configs: [{ targets: [new URL(running.url).host] }] },
        ],
      }),
    )
    const prometheus = spawn(
      'prometheus',
      [`--config.file=${config}`, `--storage.tsdb.path=${tsdb}`, `--web.listen-address=127.0.0.1:${port}`],
      { stdio: 'ignore' },
    )
    cleanups.push(async () => {
      const ended = new Promise((done) => prometheus.once('exit', done))
      prometheus.kill('SIGKILL')
      await ended
    })
    const ask = async (query: string): Promise<number> => {
      const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`
      const answer = await json<{ status: string; error?: string; data?: { result: unknown[] } }>(url)
      if (answer.status !== 'success') throw new Error(`${query}: ${answer.error}`)
      return answer.data?.result.length ?? 0
    }
    // A rate needs two scrapes with samples between them, and the checkpoint has to come.
    await until(
      () =>
        ask('millrace_up == 1').then(
          (found) => (found > 0 ? found : null),
          () => null,
        ),
      60_000,
    )
    const wanted = [
      ...expressionsOf('dashboards').map(({ at, expr }) => ({ at, expr: forEverything(expr) })),
      ...RECORDING_RULES.map((rule) => ({ at: rule.record, expr: rule.expr })),
    ]
    let silent = wanted
    await until(async () => {
      await send()
      const left: typeof wanted = []
      for (const one of silent) if ((await ask(one.expr)) === 0) left.push(one)
      silent = left
      return silent.length === 0 ? true : null
    }, 90_000).catch(() => undefined)
    expect(silent).toEqual([])
    for (const rule of ALERT_RULES) await ask(rule.expr)
    const rules = await json<{ data: { groups: { rules: { name: string; health: string }[] }[] } }>(
      `http://127.0.0.1:${port}/api/v1/rules`,
    )
    const unhealthy = rules.data.groups.flatMap((group) => group.rules).filter((rule) => rule.health !== 'ok')
    expect(unhealthy).toEqual([])
  },
  180_000,
)
