/** Retention at the log's size limit: at once, not for nothing, and by the clock otherwise. */
import { expect, test } from 'vitest'
import { BYTES_SLACK, bytesToKeep, FREE_BYTES_HIGH } from '../engine/store/retention.ts'
import { RETENTION_EVERY_MS, RetentionTurns } from './retention-turns.ts'

const NOW_MS = 1_000_000
const LIMIT = 100 * 2 ** 20

test('with room it is due now and then only', () => {
  const turns = new RetentionTurns()
  expect(turns.isDue(NOW_MS, Infinity)).toBe(true)
  turns.took(NOW_MS, Infinity, 0, false)
  expect(turns.isDue(NOW_MS + RETENTION_EVERY_MS - 1, Infinity)).toBe(false)
  expect(turns.isDue(NOW_MS + RETENTION_EVERY_MS, Infinity)).toBe(true)
})

test('without room it is due at once, while there is something to delete', () => {
  const turns = new RetentionTurns()
  turns.took(NOW_MS, Infinity, 0, false)
  expect(turns.isDue(NOW_MS + 1, LIMIT)).toBe(true)
  turns.took(NOW_MS + 1, LIMIT, 3, false)
  expect(turns.isDue(NOW_MS + 2, LIMIT)).toBe(true)
})

test('where nothing may go it asks by the clock, and at once again when something went', () => {
  const turns = new RetentionTurns()
  turns.took(NOW_MS, LIMIT, 0, false)
  expect(turns.isDue(NOW_MS + 1, LIMIT)).toBe(false)
  expect(turns.isDue(NOW_MS + RETENTION_EVERY_MS, LIMIT)).toBe(true)
  turns.took(NOW_MS + RETENTION_EVERY_MS, LIMIT, 1, false)
  expect(turns.isDue(NOW_MS + RETENTION_EVERY_MS + 1, LIMIT)).toBe(true)
})

test('more to delete by age is due at once', () => {
  const turns = new RetentionTurns()
  turns.took(NOW_MS, Infinity, 1_024, true)
  expect(turns.isDue(NOW_MS, Infinity)).toBe(true)
})

test('a log that is written to for ever stays within its limit and the slack, and never below the limit', () => {
  const turns = new RetentionTurns()
  const transaction = 2 ** 20 / 2
  const batch = 2 ** 16
  let [bytes, file, deletions] = [0, 0, 0]
  for (let i = 0; i < 2_000; i++) {
    bytes += transaction
    file = Math.max(file, bytes)
    const bytesMax = bytesToKeep(bytes, LIMIT, () => file - bytes)
    if (!turns.isDue(NOW_MS + i, bytesMax)) continue
    let batches = 0
    while (bytes > bytesMax) {
      bytes -= batch
      batches++
    }
    deletions += batches > 0 ? 1 : 0
    turns.took(NOW_MS + i, bytesMax, batches, false)
    expect(bytes).toBeLessThanOrEqual(LIMIT * (1 + BYTES_SLACK))
    if (batches > 0) expect(bytes).toBeGreaterThan(LIMIT - batch)
  }
  // In steps: not with every transaction, and no more free at once than the next ones need.
  expect(deletions).toBeGreaterThan(100)
  expect(file - bytes).toBeLessThanOrEqual(FREE_BYTES_HIGH + 2 ** 20)
})
