import { expect, test } from 'vitest'
import { roundText } from './replay.ts'

test('a replay of one round shows its share of the log', () => {
  const progress = { round: 'reading', rounds: 1, done: 25, total: 100, samples: 2_000_000 } as const
  expect(roundText(progress, 1_000)).toBe('25% · 2,000,000 samples · 2.0 M samples/s · 3.0 s left')
})

test('groups spread over partitions take a second round, with a share and a time of its own', () => {
  const first = { round: 'reading', rounds: 2, done: 100, total: 100, samples: 2_000_000 } as const
  expect(roundText(first, 1_000)).toBe('1 of 2: 100% · 2,000,000 samples · 2.0 M samples/s')
  const second = { round: 'merging', rounds: 2, done: 50, total: 200, samples: 2_000_000 } as const
  expect(roundText(second, 1_000)).toBe('2 of 2, merging groups: 25% · 50 entries · 3.0 s left')
  expect(roundText({ ...second, done: 0, total: 0 }, 0)).toBe('2 of 2, merging groups: 100% · 0 entries')
})
