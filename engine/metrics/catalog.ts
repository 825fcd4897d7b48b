/**
 * Every metric there is: name, type, help, labels. Names follow Prometheus' rules (`promtool check metrics` is clean):
 * counters end in `_total`, units are seconds and bytes. Each constant names the thread that writes it. The order fixes
 * the layout of a block, which all threads of a process share; nothing of it is stored.
 */
import { DETECTOR_HEALTHS } from '../contract/plugins.ts'
import { type Metric, MetricList } from './metric.ts'

const list = new MetricList()

// ---- main thread: HTTP --------------------------------------------------------------------------------------------

export const HTTP_REQUESTS = list.counter(
  'millrace_http_requests_total',
  'HTTP requests answered, by class of status code.',
  { label: 'code', values: ['1xx', '2xx', '3xx', '4xx', '5xx'] },
)
export const HTTP_IN_FLIGHT_BYTES = list.gauge(
  'millrace_http_in_flight_bytes',
  'Bytes of write requests that are being read or wait to be durable.',
)
export const INGEST_REQUESTS = list.counter(
  'millrace_ingest_requests_total',
  'Write requests, by what became of them: stored whole, stored in part, stored before, every line malformed, refused, broken off by the client, failed here.',
  {
    label: 'outcome',
    values: ['stored', 'partial', 'duplicate', 'malformed', 'refused', 'aborted', 'failed'],
  },
)
export const INGEST_REFUSED = list.counter(
  'millrace_ingest_refused_requests_total',
  'Write requests refused before anything was stored, by reason.',
  {
    label: 'reason',
    values: [
      'log_full',
      'in_flight',
      'body_too_large',
      'unknown_topic',
      'unavailable',
      'parameters',
      'encoding',
      'origin',
      'key_reused',
      'keys_full',
      'producer',
    ],
  },
)
export const INGEST_LINES = list.counter('millrace_ingest_lines_total', 'Lines read, good and bad.')
export const INGEST_SAMPLES = list.counter('millrace_ingest_samples_total', 'Samples accepted and stored.')
export const INGEST_BYTES = list.counter(
  'millrace_ingest_bytes_total',
  'Bytes of bodies, after decompression.',
)
export const INGEST_FAULT_LINES = list.counter(
  'millrace_ingest_fault_lines_total',
  'Lines not stored: they cannot be read, or lie beyond the future guard.',
)
export const INGEST_REFUSED_SAMPLES = list.counter(
  'millrace_ingest_refused_samples_total',
  'Samples read and not stored, by reason: beyond the future guard, or of series beyond the series limit.',
  { label: 'reason', values: ['future', 'series_limit'] },
)
export const INGEST_STRING_FIELDS = list.counter(
  'millrace_ingest_string_fields_total',
  'String fields seen: accepted and not kept.',
)
export const INGEST_DURATION = list.histogram(
  'millrace_ingest_request_duration_seconds',
  'Write requests from first byte of the head to the answer, that is, until durable.',
)

export const LIVE_CLIENTS = list.gauge('millrace_live_clients', 'Pages that watch /api/v1/live now.')
export const LIVE_DROPPED = list.counter(
  'millrace_live_dropped_clients_total',
  'Pages cut off because they took nothing for too long.',
)

// ---- log writer ---------------------------------------------------------------------------------------------------

export const LOG_SAMPLES = list.counter(
  'millrace_log_samples_total',
  'Samples appended to the log, durable.',
  {
    scope: 'topic',
  },
)
export const LOG_BATCHES = list.counter(
  'millrace_log_batches_total',
  'Record batches appended, ticks among them.',
  {
    scope: 'topic',
  },
)
export const LOG_BYTES = list.counter('millrace_log_appended_bytes_total', 'Bytes appended to the log.')
export const LOG_COMMIT_DURATION = list.histogram(
  'millrace_log_commit_duration_seconds',
  'Transactions of the log, fdatasync included; the count is the number of transactions.',
)
export const LOG_TRANSACTION_REQUESTS = list.counter(
  'millrace_log_transaction_requests_total',
  'Requests made durable; divided by transactions, how many share one fdatasync.',
)
export const LOG_SIZE = list.gauge('millrace_log_size_bytes', 'Bytes the log occupies on disk.')
export const LOG_SERIES = list.gauge('millrace_log_series', 'Series known.', { scope: 'topic' })
export const LOG_SERIES_LIMIT = list.gauge('millrace_log_series_limit', 'Series allowed.', { scope: 'topic' })
export const LOG_RETIRED_BATCHES = list.counter(
  'millrace_log_retired_batches_total',
  'Record batches deleted by retention.',
  { scope: 'topic' },
)
export const LOG_DUPLICATES = list.counter(
  'millrace_log_duplicate_requests_total',
  'Requests not stored again: their idempotency key or sequence was stored before.',
  { scope: 'topic' },
)
export const IDEMPOTENCY_KEYS = list.gauge('millrace_idempotency_keys', 'Idempotency keys remembered.')
export const PRODUCERS = list.gauge('millrace_producers', 'Producers known.')
export const RING_SKIPS = list.counter(
  'millrace_ring_skips_total',
  'Times a shard fell from live to catching up because its ring was full.',
)
export const RING_SKIPPED_BATCHES = list.counter(
  'millrace_ring_skipped_batches_total',
  'Record batches that a shard must read from the log because its ring was full.',
)

// ---- shards -------------------------------------------------------------------------------------------------------

export const PIPELINE_LAG = list.gauge(
  'millrace_pipeline_lag_offsets',
  'Offsets in the log not yet processed, summed over partitions.',
  { scope: 'pipeline' },
)
export const PIPELINE_OWNER_LAG = list.gauge(
  'millrace_pipeline_owner_lag_entries',
  'Of groups spread over partitions: entries sent to their owners, from the first that may still bring about a result.',
  { scope: 'pipeline' },
)
/** Written in seconds; the exporter derives the lag, so that it grows even while the shard is stuck. */
export const PIPELINE_WATERMARK = list.gauge(
  'millrace_pipeline_watermark_timestamp_seconds',
  'Event time that all partitions have passed: the smallest watermark.',
  { scope: 'pipeline', merge: 'min' },
)
export const PIPELINE_GROUPS = list.gauge('millrace_pipeline_groups', 'Groups that hold state.', {
  scope: 'pipeline',
})
export const CATCH_UP_READS = list.counter(
  'millrace_pipeline_log_reads_total',
  'Record batches read from the log instead of the ring.',
  { scope: 'pipeline' },
)
export const SHARD_BATCH_DURATION = list.histogram(
  'millrace_shard_batch_duration_seconds',
  'Processing of one record batch by one pipeline.',
)
export const PIPELINE_SECONDS = list.counter(
  'millrace_pipeline_operator_seconds_total',
  'Time that shards spent in a pipeline: samples into slices, slices into windows, detectors, results and alerts handed on.',
  { scope: 'pipeline', label: 'operator', values: ['aggregate', 'window', 'detect', 'emit'] },
)

/** Absent until the first round over a shard's rows is through (workers/health-rounds.ts). */
export const DETECTOR_SERIES = list.gauge(
  'millrace_detector_series',
  'Groups that a detector watches, by how it does for them: ok; warming, it cannot judge yet; starved, too few values of late; saturated, alarming most of the time; blind, it could not alarm whatever came.',
  { scope: 'detector', label: 'health', values: DETECTOR_HEALTHS },
)

// ---- committer ----------------------------------------------------------------------------------------------------

export const PIPELINE_SAMPLES_IN = list.counter(
  'millrace_pipeline_samples_in_total',
  'Samples of the topic under committed progress, since the process started; replay counts none again.',
  { scope: 'pipeline' },
)
export const PIPELINE_SAMPLES = list.counter(
  'millrace_pipeline_samples_total',
  'The same samples by what became of them; the sum over fate equals millrace_pipeline_samples_in_total.',
  { scope: 'pipeline', label: 'fate', values: ['windowed', 'filtered', 'late', 'non_finite', 'dead'] },
)
export const PIPELINE_DEAD_LETTERS = list.counter(
  'millrace_pipeline_dead_letters_total',
  'Record batches given up since the process started: the pipeline failed there again and again, and skips them.',
  { scope: 'pipeline' },
)
export const PIPELINE_RESULTS = list.counter('millrace_pipeline_results_total', 'Window results committed.', {
  scope: 'pipeline',
})
export const PIPELINE_ALERTS = list.counter(
  'millrace_pipeline_alerts_total',
  'Alert transitions committed, by the state entered.',
  { scope: 'pipeline', label: 'state', values: ['pending', 'firing', 'resolved'] },
)
export const PIPELINE_ALERTS_FIRING = list.gauge('millrace_pipeline_alerts_firing', 'Alerts firing now.', {
  scope: 'pipeline',
})
export const SILENCES_ACTIVE = list.gauge('millrace_silences_active', 'Silences that hold now.')
export const ALERTS_WITHHELD = list.gauge(
  'millrace_alerts_withheld',
  'Pending and firing alerts whose newest transition no sink was told of, because of a silence.',
)
export const COMMIT_DURATION = list.histogram(
  'millrace_commit_duration_seconds',
  'Commits of results, alerts and progress, fdatasync included; the count is the number of commits.',
)
export const CHECKPOINT_DURATION = list.histogram(
  'millrace_checkpoint_duration_seconds',
  'Checkpoints from the first page to durable; the count is the number of checkpoints.',
)
export const CHECKPOINT_PAUSE = list.histogram(
  'millrace_checkpoint_pause_seconds',
  'How long a turn of a shard worked on a checkpoint instead of on record batches.',
)
export const CHECKPOINT_BYTES = list.counter(
  'millrace_checkpoint_written_bytes_total',
  'Bytes of state pages written.',
)
export const CHECKPOINT_TIME = list.gauge(
  'millrace_checkpoint_timestamp_seconds',
  'When the newest checkpoint became durable.',
  { scope: 'pipeline', merge: 'max' },
)
export const STATE_SIZE = list.gauge(
  'millrace_state_size_bytes',
  'Bytes that state and results occupy on disk.',
)

// ---- sinks --------------------------------------------------------------------------------------------------------

export const SINK_RECORDS = list.counter('millrace_sink_records_total', 'Records the target has accepted.', {
  scope: 'sink',
})
export const SINK_RETRIES = list.counter('millrace_sink_retries_total', 'Deliveries tried again.', {
  scope: 'sink',
})
export const SINK_FAILURES = list.counter(
  'millrace_sink_failures_total',
  'Times the sink was stopped by an error.',
  {
    scope: 'sink',
  },
)
export const SINK_DEAD = list.counter(
  'millrace_sink_dead_records_total',
  'Records the target refused for good: skipped and logged.',
  { scope: 'sink' },
)
export const SINK_LAG = list.gauge('millrace_sink_lag_entries', 'Committed entries not yet delivered.', {
  scope: 'sink',
})

// ---- main thread: the disk ----------------------------------------------------------------------------------------

export const DISK_FREE = list.gauge(
  'millrace_disk_free_bytes',
  'Room left on the file system of the data directory.',
)
export const DISK_RESERVE = list.gauge(
  'millrace_disk_reserve_bytes',
  'Room below which nothing is taken in; 0 where there is no such bound.',
)
export const DISK_LOW = list.gauge(
  'millrace_disk_low',
  '1 while nothing is taken in for want of room on the disk.',
)

// ---- every thread -------------------------------------------------------------------------------------------------

/** Written in seconds by each thread's loop; the exporter derives the age. */
export const THREAD_HEARTBEAT = list.gauge(
  'millrace_thread_heartbeat_timestamp_seconds',
  'When the thread last went round its loop; one that is stuck stands still.',
  { scope: 'thread', merge: 'max' },
)
export const THREAD_RESTARTS = list.counter(
  'millrace_thread_restarts_total',
  'Times the thread was started again after a failure.',
  { scope: 'thread' },
)
/** This and the restarts are written by the main thread, into the block of the thread that they are about. */
export const THREAD_LAST_FAILURE = list.gauge(
  'millrace_thread_last_failure_timestamp_seconds',
  'When the thread last failed; absent while it never has.',
  { scope: 'thread', merge: 'max' },
)

export const CATALOG: readonly Metric[] = list.metrics
export const BLOCK_CELLS = list.cellCount

/** Metrics that the exporter makes itself, at the time of the scrape. */
export const DERIVED = {
  watermarkLag: {
    name: 'millrace_pipeline_watermark_lag_seconds',
    help: 'How far the smallest watermark is behind the clock; 0 when it is ahead.',
  },
  heartbeatAge: {
    name: 'millrace_thread_heartbeat_age_seconds',
    help: 'How long ago the thread last went round its loop.',
  },
  /** These only with `scoreSeries`; of one pipeline, detector and series, as of its newest window. */
  seriesValue: {
    name: 'millrace_series_value',
    help: 'With scoreSeries: the aggregate that a detector judged in the newest window.',
  },
  seriesScore: {
    name: 'millrace_series_score',
    help: 'With scoreSeries: 0 at the expected value, 1 at the edge of the band, above 1 anomalous.',
  },
  seriesExpected: {
    name: 'millrace_series_expected',
    help: 'With scoreSeries: the value that the detector expected.',
  },
  seriesLower: {
    name: 'millrace_series_lower',
    help: 'With scoreSeries: the lower edge of the band; absent where there is none.',
  },
  seriesUpper: {
    name: 'millrace_series_upper',
    help: 'With scoreSeries: the upper edge of the band; absent where there is none.',
  },
  seriesLeftOut: {
    name: 'millrace_series_left_out',
    help: 'With scoreSeries: series of the newest windows whose scores are not shown; those with the highest are.',
  },
  buildInfo: { name: 'millrace_build_info', help: 'Always 1; the labels tell what runs.' },
  up: { name: 'millrace_up', help: '1 when the node is ready, 0 while it starts, stops or cannot work.' },
} as const
