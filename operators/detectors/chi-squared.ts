/** The upper tail of the chi-squared distribution, as a surprise. Pure. */

/** Minus the decimal logarithm of a probability stops here: beyond it a number says no more. */
export const SURPRISE_MAX = 300

/**
 * Minus the decimal logarithm of the probability that a chi-squared variable with `freedom` degrees (an integer above 0) is
 * `statistic` or more. By the finite sums for integer degrees (Abramowitz and Stegun 26.4.4 and 26.4.5), with e^(-x/2)
 * taken out, so that what is far out stays exact. O(freedom).
 */
// hot: a call a value.
export function chiSquaredSurprise(statistic: number, freedom: number): number {
  if (!(statistic > 0)) return 0
  const half = statistic / 2
  const odd = freedom % 2 === 1
  // Terms of x^j over 2·4·6… or 1·3·5…, without the factor e^(-x/2).
  let term = odd ? Math.sqrt((2 * statistic) / Math.PI) : 1
  let sum = odd ? 0 : 1
  for (let j = odd ? 1 : 2; j < freedom; j += 2) {
    if (!odd) term *= statistic / j
    else if (j > 1) term *= statistic / j
    sum += term
  }
  if (odd) sum += scaledErfc(Math.sqrt(half))
  const surprise = (half - Math.log(sum)) * Math.LOG10E
  if (!(surprise < SURPRISE_MAX)) return SURPRISE_MAX
  return Math.max(surprise, 0)
}

/** Below, the series of erf converges fast; above, the continued fraction does. */
const SERIES_UP_TO = 2
const SERIES_TERMS = 40
const FRACTION_TERMS = 60

/** e^(x²) erfc(x), x >= 0 (Abramowitz and Stegun 7.1.6 and 7.1.14). */
function scaledErfc(x: number): number {
  if (x < SERIES_UP_TO) {
    let term = x
    let sum = x
    for (let n = 1; n < SERIES_TERMS; n++) {
      term *= (2 * x * x) / (2 * n + 1)
      sum += term
    }
    return Math.exp(x * x) - (2 / Math.sqrt(Math.PI)) * sum
  }
  let fraction = x
  for (let n = FRACTION_TERMS; n > 0; n--) fraction = x + n / 2 / fraction
  return 1 / (fraction * Math.sqrt(Math.PI))
}
