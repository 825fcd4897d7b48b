/**
 * The scorer reproduces what NAB published, to 1e-6. Reads MILLRACE_SHARED (default ../shared); skipped without it.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { hasCorpus, readCorpus, readPublished } from './corpus.ts'
import { bestThreshold, normalized, PROFILES, type Scored, scoreFile, windowsOf } from './scoring.ts'

const DIR = join(process.env.MILLRACE_SHARED ?? '../shared', 'nab')
const DIGITS = 6
const NAB_NAMES = { standard: 'standard', lowFp: 'reward_low_FP_rate', lowFn: 'reward_low_FN_rate' }

interface Expected {
  readonly detectors: Record<string, Record<string, ExpectedProfile> & { perFile: Record<string, number> }>
}
interface ExpectedProfile {
  readonly publishedThreshold: number
  readonly at_published_threshold: Record<'raw' | 'tp' | 'tn' | 'fp' | 'fn' | 'normalized', number>
  readonly exact_optimum: { threshold: number; normalized: number }
}

// An absent corpus is no fault of the scorer.
describe.skipIf(!hasCorpus(DIR))('the scorer on the corpus', () => {
  const corpus = readCorpus(DIR)
  const { detectors } = JSON.parse(readFileSync(join(DIR, 'expected.json'), 'utf8')) as Expected

  test('the corpus is the one that was scored', () => {
    const rows = corpus.reduce((sum, { file }) => sum + file.rows, 0)
    const unscored = corpus.reduce((sum, { file }) => sum + file.from, 0)
    expect({ files: corpus.length, rows, unscored }).toEqual({ files: 58, rows: 365_558, unscored: 32_716 })
    expect(windowsOf(corpus.map(({ file }) => ({ file, scores: [] })))).toBe(116)
  })

  // Of four detectors, only the totals were kept.
  const kept = Object.keys(detectors).filter((name) => existsSync(join(DIR, 'published', `${name}.json.gz`)))

  test('twelve detectors have their scores here', () => expect(kept).toHaveLength(12))

  test.each(kept)('%s, in every profile and every file', (detector) => {
    const published = readPublished(DIR, detector)
    const parts: Scored[] = corpus.map(({ file }) => ({ file, scores: published[file.name]! }))
    for (const profile of PROFILES) {
      const expected = detectors[detector]![NAB_NAMES[profile.name]]!
      const { publishedThreshold, at_published_threshold: at, exact_optimum } = expected
      const files = parts.map(({ file, scores }) => scoreFile(file, scores, publishedThreshold, profile))
      const sum = (name: 'raw' | 'tp' | 'tn' | 'fp' | 'fn') => files.reduce((all, one) => all + one[name], 0)
      expect(sum('raw')).toBeCloseTo(at.raw, DIGITS)
      expect(normalized(sum('raw'), 116, profile)).toBeCloseTo(at.normalized, DIGITS)
      expect([sum('tp'), sum('tn'), sum('fp'), sum('fn')]).toEqual([at.tp, at.tn, at.fp, at.fn])
      const optimum = bestThreshold(parts, profile)
      expect(normalized(optimum.raw, 116, profile)).toBeCloseTo(exact_optimum.normalized, DIGITS)
      expect(optimum.threshold).toBeCloseTo(exact_optimum.threshold, DIGITS)
      if (profile.name === 'standard')
        for (const [i, { raw }] of files.entries())
          expect(raw, corpus[i]!.file.name).toBeCloseTo(
            detectors[detector]!.perFile[corpus[i]!.file.name]!,
            DIGITS,
          )
    }
  })
})
