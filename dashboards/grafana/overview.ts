/** Is it well, does it keep up, is the disk enough: one look at a whole node. */
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import {
  CHECKPOINT_DURATION,
  COMMIT_DURATION,
  DERIVED,
  DISK_FREE,
  DISK_LOW,
  DISK_RESERVE,
  HTTP_IN_FLIGHT_BYTES,
  HTTP_REQUESTS,
  INGEST_BYTES,
  INGEST_DURATION,
  INGEST_FAULT_LINES,
  INGEST_REFUSED,
  INGEST_REFUSED_SAMPLES,
  INGEST_REQUESTS,
  INGEST_SAMPLES,
  LOG_BYTES,
  LOG_COMMIT_DURATION,
  LOG_SERIES,
  LOG_SERIES_LIMIT,
  LOG_SIZE,
  PIPELINE_ALERTS_FIRING,
  PIPELINE_LAG,
  PIPELINE_SAMPLES_IN,
  STATE_SIZE,
  THREAD_RESTARTS,
} from '../../engine/metrics/catalog.ts'
import { observations, quantile, rate, series, sumBy } from '../promql.ts'
import { curves, dashboard, stat } from './panels.ts'

export function overview(): DashboardBuilder {
  return dashboard('millrace-overview', 'Overview', 'Nodes of millrace: intake, lag, disk, threads.')
    .withRow(new RowBuilder('At a glance'))
    .withPanel(
      stat({
        title: 'Nodes ready',
        about: 'Nodes that take samples and answer queries, of all that are scraped.',
        unit: 'short',
        queries: [{ expr: `sum(${series(DERIVED.up)})`, legend: 'ready' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Samples in',
        about: 'Samples a second that were stored durably.',
        unit: 'short',
        queries: [{ expr: sumBy('', rate(INGEST_SAMPLES)), legend: 'samples/s' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Alerts firing',
        about: 'Alerts that fire now, over all pipelines.',
        unit: 'short',
        limits: { warn: 1, act: 10 },
        queries: [{ expr: sumBy('', series(PIPELINE_ALERTS_FIRING)), legend: 'firing' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Behind',
        about:
          'Offsets in the log that no pipeline has processed yet, of the pipeline that is furthest behind.',
        unit: 'short',
        limits: { warn: 1e6, act: 1e7 },
        queries: [{ expr: `max(${series(PIPELINE_LAG)})`, legend: 'offsets' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Room on disk',
        about:
          'Free bytes above the reserve below which nothing is taken in. Lower the retention or add disk before it is 0.',
        unit: 'bytes',
        queries: [{ expr: `min(${series(DISK_FREE)} - ${series(DISK_RESERVE)})`, legend: 'free' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Thread restarts, 1 h',
        about:
          'Threads that failed and were started again in the last hour. Above 0: look into the log for the reason.',
        unit: 'short',
        limits: { warn: 1, act: 5 },
        queries: [{ expr: `sum(increase(${series(THREAD_RESTARTS)}[1h]))`, legend: 'restarts' }],
      }),
    )
    .withRow(new RowBuilder('Intake'))
    .withPanel(
      curves({
        title: 'Samples stored',
        about: 'Durable samples a second, by node.',
        unit: 'short',
        queries: [{ expr: sumBy('instance', rate(INGEST_SAMPLES)), legend: '{{instance}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Time until durable',
        about: 'From the first byte of a write request to the answer, fdatasync included.',
        unit: 's',
        queries: [0.5, 0.99].map((q) => ({ expr: quantile(q, INGEST_DURATION), legend: `p${q * 100}` })),
      }),
    )
    .withPanel(
      curves({
        title: 'Write requests by outcome',
        about:
          'What became of write requests. `malformed` and `refused` are the sender’s to mend, `failed` is ours.',
        unit: 'reqps',
        stacked: true,
        queries: [{ expr: sumBy('outcome', rate(INGEST_REQUESTS)), legend: '{{outcome}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Refused and unreadable',
        about:
          'Requests refused before anything was stored, by reason; lines that cannot be read; samples refused one by one.',
        unit: 'short',
        queries: [
          { expr: sumBy('reason', rate(INGEST_REFUSED)), legend: 'requests: {{reason}}' },
          { expr: sumBy('', rate(INGEST_FAULT_LINES)), legend: 'lines: unreadable' },
          { expr: sumBy('reason', rate(INGEST_REFUSED_SAMPLES)), legend: 'samples: {{reason}}' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Bytes in and in flight',
        about:
          'Bytes of bodies a second after decompression, and bytes that are being read or wait to be durable.',
        unit: 'bytes',
        queries: [
          { expr: sumBy('', rate(INGEST_BYTES)), legend: 'in, a second' },
          { expr: sumBy('', series(HTTP_IN_FLIGHT_BYTES)), legend: 'in flight' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'HTTP answers by status',
        about: 'All requests, queries and scrapes among them.',
        unit: 'reqps',
        stacked: true,
        queries: [{ expr: sumBy('code', rate(HTTP_REQUESTS)), legend: '{{code}}' }],
      }),
    )
    .withRow(new RowBuilder('Log and commits'))
    .withPanel(
      curves({
        title: 'Transactions',
        about: 'Transactions a second: appends to the log and commits of results. Each costs one fdatasync.',
        unit: 'ops',
        queries: [
          { expr: sumBy('', observations(LOG_COMMIT_DURATION)), legend: 'log' },
          { expr: sumBy('', observations(COMMIT_DURATION)), legend: 'results' },
          { expr: sumBy('', observations(CHECKPOINT_DURATION)), legend: 'checkpoints' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Time of a transaction, p99',
        about: 'fdatasync included. When these grow together, the disk is slow or shared.',
        unit: 's',
        queries: [
          { expr: quantile(0.99, LOG_COMMIT_DURATION), legend: 'log' },
          { expr: quantile(0.99, COMMIT_DURATION), legend: 'results' },
          { expr: quantile(0.99, CHECKPOINT_DURATION), legend: 'checkpoints' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Bytes on disk',
        about:
          'What log and state occupy. The log is bounded by retention, the state by the number of groups and results.',
        unit: 'bytes',
        stacked: true,
        queries: [
          { expr: sumBy('', series(LOG_SIZE)), legend: 'log' },
          { expr: sumBy('', series(STATE_SIZE)), legend: 'state and results' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Bytes appended',
        about: 'Bytes a second that go into the log: with the retention, this says how large it will be.',
        unit: 'Bps',
        queries: [{ expr: sumBy('instance', rate(LOG_BYTES)), legend: '{{instance}}' }],
      }),
    )
    .withRow(new RowBuilder('Limits'))
    .withPanel(
      curves({
        title: 'Series, as a share of the limit',
        about:
          'Beyond 1 new series are refused; those that are known go on. Look for labels with values that never repeat.',
        unit: 'percentunit',
        limits: { warn: 0.8, act: 0.95 },
        queries: [
          {
            expr: `${sumBy('instance, topic', series(LOG_SERIES))} / ${sumBy('instance, topic', series(LOG_SERIES_LIMIT))}`,
            legend: '{{instance}} {{topic}}',
          },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Intake stopped for want of room',
        about:
          '1 while a node takes nothing in because its disk is nearly full. It goes on by itself when there is room.',
        unit: 'short',
        limits: { warn: 1, act: 1 },
        queries: [{ expr: `max by (instance) (${series(DISK_LOW)})`, legend: '{{instance}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Samples through pipelines',
        about: 'Samples a second under committed progress. Below what comes in: the pipeline falls behind.',
        unit: 'short',
        queries: [{ expr: sumBy('pipeline', rate(PIPELINE_SAMPLES_IN)), legend: '{{pipeline}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Age of the oldest heartbeat',
        about:
          'How long ago each thread last went round its loop. One that stands still is replaced by the supervisor.',
        unit: 's',
        limits: { warn: 10, act: 30 },
        queries: [{ expr: `max by (thread) (${series(DERIVED.heartbeatAge)})`, legend: '{{thread}}' }],
      }),
    )
}
