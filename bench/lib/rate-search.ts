/**
 * The highest rate that something keeps up with, by halving: a rate is kept when the last answer of a trial comes soon
 * enough after its request was due. At a rate beyond what is sustained, what waits grows for as long as the trial lasts, so a
 * trial of some seconds tells the two apart by more than the noise of one pause.
 */

/** A pause of the machine, and the requests that it held up; in 5 s at a rate 2 % too high there are 100 ms to work off. */
export const LATE_MS_MAX = 100

/** Until one rate is kept, on a machine that is busy with other things. */
const MORE_TRIALS = 10

/**
 * `first`: a rate that is too high, or nearly; `trial` runs one at a rate and resolves with how many ms after it was due its last
 * request was answered. Returns the highest rate that was kept, of `trials`; 0: none was.
 */
export async function sustainedRate(
  first: number,
  trials: number,
  trial: (rate: number) => Promise<number>,
): Promise<number> {
  let kept = 0
  let lost = Infinity
  let rate = first
  for (let i = 0; i < trials || (kept === 0 && i < trials + MORE_TRIALS); i++) {
    if ((await trial(rate)) <= LATE_MS_MAX) kept = rate
    else lost = rate
    // Until one is lost, upwards in the same steps.
    rate = lost === Infinity ? rate * 1.25 : (kept + lost) / 2
  }
  return kept
}

/** What a rate is lowered by when a longer trial does not keep it. */
const STEP_DOWN = 0.95
const CONFIRMATIONS_MAX = 20

/**
 * A rate that a longer trial keeps as well: what a few seconds keep may live on credit (pages that the kernel has yet to
 * write, memory that the collector has yet to clear). From `rate` down in steps of 5 %; 0: none of 20 was kept.
 */
export async function confirmedRate(rate: number, trial: (rate: number) => Promise<number>): Promise<number> {
  for (let i = 0; i < CONFIRMATIONS_MAX; i++, rate *= STEP_DOWN) {
    if ((await trial(rate)) <= LATE_MS_MAX) return rate
  }
  return 0
}
