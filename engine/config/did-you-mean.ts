/** The candidate a person most likely meant, or null when none is near. Ties go to the first. */
export function nearest(word: string, candidates: Iterable<string>): string | null {
  const distanceMax = Math.max(1, Math.floor(word.length / 3))
  let best: string | null = null
  let bestDistance = distanceMax + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** `Did you mean "x"? Known: a, b, c.` */
export function knownRemedy(word: string, candidates: Iterable<string>): string {
  const known = [...candidates].sort()
  const near = nearest(word, known)
  const list = known.length === 0 ? 'There are none.' : `Known: ${known.join(', ')}.`
  return near === null ? list : `Did you mean "${near}"? ${list}`
}

const WORD_LENGTH_MAX = 64

/** Levenshtein with adjacent transpositions (optimal string alignment), one row at a time. */
function editDistance(a: string, b: string): number {
  if (a.length > WORD_LENGTH_MAX || b.length > WORD_LENGTH_MAX) return Math.max(a.length, b.length)
  let twoBack: number[] = []
  let back = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(back[j]! + 1, row[j - 1]! + 1, back[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, twoBack[j - 2]! + 1)
      }
      row.push(least)
    }
    twoBack = back
    back = row
  }
  return back[b.length]!
}
