/**
 * Log-linear histogram of durations over a run of Float64 cells: every power of two of microseconds is cut into
 * SUB_BUCKETS equal parts, so that a quantile is off by at most QUANTILE_ERROR of its value (and 1 µs near zero), from
 * 1 µs to 35 minutes, without configuration. Cells add up: merging is addition, cell by cell. (The scheme of
 * HdrHistogram, G. Tene.)
 *
 *     cells: | sum of seconds | count of bucket 0 | count of bucket 1 | …
 *
 * A bucket holds (lower, upper], as Prometheus' `le` does: buckets that end at a power of two give exact `le` counts.
 */
const SUB_BITS = 4
const SUB_BUCKETS = 1 << SUB_BITS
/** Largest duration told apart: 2^31 µs; longer ones count as this. */
const MICROS_BITS = 31
const BUCKET_COUNT = (MICROS_BITS - SUB_BITS + 1) * SUB_BUCKETS
const SUM_AT = 0
const COUNTS_AT = 1
export const HISTOGRAM_CELLS = COUNTS_AT + BUCKET_COUNT

/** A quantile is the middle of its bucket, whose width is at most 1/SUB_BUCKETS of its lower end. */
export const QUANTILE_ERROR = 1 / (2 * SUB_BUCKETS)

/** Powers of two of microseconds that /metrics shows as `le`: 16 µs to 67 s. */
const LE_FIRST_BIT = 4
const LE_LAST_BIT = 26

// hot:
export function observeSeconds(cells: Float64Array, at: number, seconds: number): void {
  let micros = Math.ceil(seconds * 1e6) - 1
  if (!(micros > 0)) micros = 0
  else if (micros > 0x7fff_ffff) micros = 0x7fff_ffff
  cells[at + SUM_AT]! += seconds
  cells[at + COUNTS_AT + bucketOf(micros)]! += 1
}

// hot:
function bucketOf(micros: number): number {
  if (micros < SUB_BUCKETS) return micros
  const shift = 31 - SUB_BITS - Math.clz32(micros)
  return (shift << SUB_BITS) + (micros >>> shift)
}

/** Upper end of a bucket, inclusive, in µs. */
function upperMicros(bucket: number): number {
  if (bucket < SUB_BUCKETS) return bucket + 1
  const shift = (bucket >>> SUB_BITS) - 1
  return (SUB_BUCKETS + (bucket & (SUB_BUCKETS - 1)) + 1) * 2 ** shift
}

export interface HistogramSummary {
  readonly count: number
  readonly sumSeconds: number
  /** Cumulative counts by upper bound in seconds, ascending; +Inf is `count`. */
  readonly buckets: readonly { readonly leSeconds: number; readonly count: number }[]
}

export function summarize(cells: Float64Array, at: number): HistogramSummary {
  const buckets: { leSeconds: number; count: number }[] = []
  let count = 0
  let bit = LE_FIRST_BIT
  for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
    count += cells[at + COUNTS_AT + bucket]!
    if (bit <= LE_LAST_BIT && upperMicros(bucket) === 2 ** bit) {
      buckets.push({ leSeconds: 2 ** bit / 1e6, count })
      bit++
    }
  }
  return { count, sumSeconds: cells[at + SUM_AT]!, buckets }
}

/** The q-quantile in seconds, 0 ≤ q ≤ 1; NaN when nothing was observed. */
export function quantileSeconds(cells: Float64Array, at: number, q: number): number {
  let count = 0
  for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) count += cells[at + COUNTS_AT + bucket]!
  if (count === 0) return Number.NaN
  const rank = Math.max(1, Math.ceil(q * count))
  let seen = 0
  let bucket = 0
  for (; bucket < BUCKET_COUNT - 1; bucket++) {
    seen += cells[at + COUNTS_AT + bucket]!
    if (seen >= rank) break
  }
  const lower = bucket === 0 ? 0 : upperMicros(bucket - 1)
  return (lower + upperMicros(bucket)) / 2 / 1e6
}
