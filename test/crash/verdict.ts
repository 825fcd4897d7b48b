/** Counts what a run lost, doubled or changed. An oracle: it knows lists of texts and nothing of how they were made. */

export interface Verdict {
  lost: number
  duplicated: number
  differing: number
  /** The first faults in words. */
  readonly faults: string[]
}

/** Faults in words that a report holds; the counts go on. */
export const FAULTS_MAX = 20

export function newVerdict(): Verdict {
  return { lost: 0, duplicated: 0, differing: 0, faults: [] }
}

export function isClean({ lost, duplicated, differing }: Verdict): boolean {
  return lost === 0 && duplicated === 0 && differing === 0
}

export function fault(verdict: Verdict, text: string): void {
  if (verdict.faults.length < FAULTS_MAX) verdict.faults.push(text)
}

/**
 * Holds a stream against what it should be, item by item, in order. An item that is there more often than it should be
 * is doubled; one that should be there and is not is lost, unless something else stands in its stead: that one differs.
 */
export function compareStream(
  verdict: Verdict,
  what: string,
  expected: readonly string[],
  actual: readonly string[],
): void {
  if (sameOrder(expected, actual)) return
  const left = new Map<string, number>()
  for (const item of expected) left.set(item, (left.get(item) ?? 0) + 1)
  let duplicated = 0
  let unknown = 0
  for (const item of actual) {
    const count = left.get(item)
    if (count === undefined) unknown++
    else if (count === 0) duplicated++
    else left.set(item, count - 1)
  }
  let missing = 0
  for (const count of left.values()) missing += count
  const lost = Math.max(0, missing - unknown)
  let differing = unknown
  // The same items in another order.
  if (missing + duplicated + unknown === 0)
    differing = expected.filter((item, i) => item !== actual[i]).length
  verdict.lost += lost
  verdict.duplicated += duplicated
  verdict.differing += differing
  const at = expected.findIndex((item, i) => item !== actual[i])
  const from = at < 0 ? expected.length : at
  fault(
    verdict,
    `${what}: ${lost} lost, ${duplicated} doubled, ${differing} differ; of ${expected.length} wanted ${actual.length} ` +
      `are there, the first difference at ${from}: wanted ${shown(expected[from])}, found ${shown(actual[from])}`,
  )
}

/**
 * What came by a way that may repeat: repeats are dropped by id, the first of each id counts. A repeat with other bytes
 * under the same id differs. Returns how many repeats there were.
 */
export function withoutRepeats(
  verdict: Verdict,
  what: string,
  items: readonly string[],
): { readonly items: readonly string[]; readonly repeats: number } {
  const byId = new Map<string, string>()
  let repeats = 0
  for (const item of items) {
    const id = idOf(item)
    const before = byId.get(id)
    if (before === undefined) byId.set(id, item)
    else {
      repeats++
      if (before !== item) {
        verdict.differing++
        fault(verdict, `${what}: ${id} came again with other bytes: ${shown(before)}, then ${shown(item)}`)
      }
    }
  }
  return { items: [...byId.values()], repeats }
}

/** By result stream: partitions interleave as they happened to be committed. */
export function byStream(lines: readonly string[]): ReadonlyMap<string, string[]> {
  const streams = new Map<string, string[]>()
  for (const line of lines) {
    const stream = streamOf(line)
    const there = streams.get(stream)
    if (there === undefined) streams.set(stream, [line])
    else there.push(line)
  }
  return streams
}

/** `pipeline/partition`; what has no id is a stream of its own, which nobody expects. */
function streamOf(line: string): string {
  return idOf(line).split('/').slice(0, 2).join('/')
}

/** How many of a stream's records have a number at or beyond `endSeq`: they were sent before they were committed. */
export function countBeyond(lines: readonly string[], stream: string, endSeq: number): number {
  let count = 0
  for (const line of lines) {
    const [pipeline, partition, seq] = idOf(line).split('/')
    if (`${pipeline}/${partition}` === stream && Number(seq) >= endSeq) count++
  }
  return count
}

function idOf(line: string): string {
  return /^\{"id":"([^"]*)"/.exec(line)?.[1] ?? `? ${line}`
}

/** Sent, acknowledged and stored, body by body. */
export function compareBodies(
  verdict: Verdict,
  bodies: readonly {
    readonly sends: number
    readonly acks: number
    readonly copies: number
    readonly samples: number
  }[],
): void {
  for (const [index, { sends, acks, copies, samples }] of bodies.entries()) {
    if (copies >= acks && copies <= sends) continue
    fault(
      verdict,
      `body ${index}: sent ${sends} times, acknowledged ${acks} times, ${copies} times in the log`,
    )
    verdict.lost += Math.max(0, acks - copies) * samples
    verdict.duplicated += Math.max(0, copies - sends) * samples
  }
}

function sameOrder(expected: readonly string[], actual: readonly string[]): boolean {
  return expected.length === actual.length && expected.every((item, i) => item === actual[i])
}

function shown(item: string | undefined): string {
  if (item === undefined) return 'nothing'
  return item.length > 100 ? `${item.slice(0, 100)}…` : item
}
