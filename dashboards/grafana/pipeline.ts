/** One pipeline, or several: rates, lag, what became of the samples, where the time goes, what its sinks do. */
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import {
  CATCH_UP_READS,
  CHECKPOINT_BYTES,
  CHECKPOINT_TIME,
  DERIVED,
  PIPELINE_DEAD_LETTERS,
  PIPELINE_GROUPS,
  PIPELINE_LAG,
  PIPELINE_RESULTS,
  PIPELINE_SAMPLES,
  PIPELINE_SAMPLES_IN,
  RING_SKIPPED_BATCHES,
  SHARD_BATCH_DURATION,
  SINK_DEAD,
  SINK_FAILURES,
  SINK_LAG,
  SINK_RECORDS,
  SINK_RETRIES,
} from '../../engine/metrics/catalog.ts'
import { NODES, observations, quantile, rate, series, sumBy } from '../promql.ts'
import { choice, curves, dashboard, stat } from './panels.ts'

export const OF_PIPELINE = `${NODES},pipeline=~"$pipeline"`
const where = OF_PIPELINE

export function pipeline(): DashboardBuilder {
  return dashboard('millrace-pipeline', 'Pipeline', 'One pipeline: rates, lag, losses, sinks.')
    .withVariable(choice('pipeline', 'Pipeline', `label_values(${series(PIPELINE_LAG)}, pipeline)`))
    .withRow(new RowBuilder('At a glance'))
    .withPanel(
      stat({
        title: 'Samples in',
        about: 'Samples a second under committed progress.',
        unit: 'short',
        queries: [{ expr: sumBy('', rate(PIPELINE_SAMPLES_IN, { where })), legend: 'samples/s' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Results',
        about: 'Window results committed a second.',
        unit: 'short',
        queries: [{ expr: sumBy('', rate(PIPELINE_RESULTS, { where })), legend: 'results/s' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Groups',
        about: 'Groups that hold state.',
        unit: 'short',
        queries: [{ expr: sumBy('', series(PIPELINE_GROUPS, where)), legend: 'groups' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Behind, offsets',
        about: 'Offsets in the log not processed yet.',
        unit: 'short',
        limits: { warn: 1e6, act: 1e7 },
        queries: [{ expr: `max(${series(PIPELINE_LAG, where)})`, legend: 'offsets' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Behind, event time',
        about:
          'How far the smallest watermark is behind the clock: allowed disorder, waiting partitions and lag together.',
        unit: 's',
        limits: { warn: 60, act: 600 },
        queries: [{ expr: `max(${series(DERIVED.watermarkLag, where)})`, legend: 'seconds' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Dead letters, 1 h',
        about:
          'Record batches given up in the last hour because the pipeline failed there again and again. Their samples are lost to it.',
        unit: 'short',
        limits: { warn: 1, act: 1 },
        queries: [{ expr: `sum(increase(${series(PIPELINE_DEAD_LETTERS, where)}[1h]))`, legend: 'batches' }],
      }),
    )
    .withRow(new RowBuilder('Flow'))
    .withPanel(
      curves({
        title: 'Samples by fate',
        about:
          'What became of the samples. `late` grows: raise `.disorder` or `.lateness`; `non_finite`: the sender writes NaN or infinities.',
        unit: 'short',
        stacked: true,
        queries: [{ expr: sumBy('fate', rate(PIPELINE_SAMPLES, { where })), legend: '{{fate}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Results',
        about: 'Window results committed a second.',
        unit: 'short',
        queries: [{ expr: sumBy('pipeline', rate(PIPELINE_RESULTS, { where })), legend: '{{pipeline}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Lag, offsets',
        about: 'Offsets in the log not processed yet.',
        unit: 'short',
        queries: [{ expr: sumBy('pipeline', series(PIPELINE_LAG, where)), legend: '{{pipeline}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Lag, event time',
        about:
          'How far the smallest watermark is behind the clock. Rises by a second a second while nothing arrives.',
        unit: 's',
        queries: [
          { expr: `max by (pipeline) (${series(DERIVED.watermarkLag, where)})`, legend: '{{pipeline}}' },
        ],
      }),
    )
    .withRow(new RowBuilder('Threads'))
    .withPanel(
      curves({
        title: 'Time of a record batch',
        about: 'Processing of one record batch by one pipeline on a shard: over all pipelines of the node.',
        unit: 's',
        queries: [0.5, 0.99].map((q) => ({ expr: quantile(q, SHARD_BATCH_DURATION), legend: `p${q * 100}` })),
      }),
    )
    .withPanel(
      curves({
        title: 'Record batches processed',
        about:
          'Record batches a second, those that came over the ring and those read from the log: over all pipelines of the node.',
        unit: 'ops',
        queries: [{ expr: sumBy('', observations(SHARD_BATCH_DURATION)), legend: 'batches/s' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Read from the log instead of the ring',
        about:
          'After a start or when a shard’s ring was full. Lasting: shards are slower than the intake; add threads or simplify the pipeline.',
        unit: 'ops',
        queries: [
          { expr: sumBy('pipeline', rate(CATCH_UP_READS, { where })), legend: '{{pipeline}}: read' },
          { expr: sumBy('', rate(RING_SKIPPED_BATCHES)), legend: 'not put on a full ring' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Age of the newest checkpoint',
        about: 'A restart replays the log from there. Bytes written by checkpoints are of the whole node.',
        unit: 's',
        queries: [
          {
            expr: `time() - min by (pipeline) (${series(CHECKPOINT_TIME, where)})`,
            legend: '{{pipeline}}',
          },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Checkpoint bytes',
        about: 'Bytes of changed state pages written a second, over all pipelines of the node.',
        unit: 'Bps',
        queries: [{ expr: sumBy('', rate(CHECKPOINT_BYTES)), legend: 'written' }],
      }),
    )
    .withRow(new RowBuilder('Sinks'))
    .withPanel(
      curves({
        title: 'Delivered',
        about: 'Records a second that the target has accepted.',
        unit: 'short',
        queries: [
          { expr: sumBy('pipeline, sink', rate(SINK_RECORDS, { where })), legend: '{{pipeline}} {{sink}}' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Waiting',
        about:
          'Committed entries not yet delivered. They are kept until they are, within the retention of results.',
        unit: 'short',
        queries: [
          { expr: sumBy('pipeline, sink', series(SINK_LAG, where)), legend: '{{pipeline}} {{sink}}' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Trouble',
        about: 'Deliveries tried again, stops by an error, records that the target refused for good.',
        unit: 'short',
        queries: [
          { expr: sumBy('sink', rate(SINK_RETRIES, { where })), legend: '{{sink}}: retries' },
          { expr: sumBy('sink', rate(SINK_FAILURES, { where })), legend: '{{sink}}: failures' },
          { expr: sumBy('sink', rate(SINK_DEAD, { where })), legend: '{{sink}}: refused' },
        ],
      }),
    )
}
