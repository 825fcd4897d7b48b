import { afterEach, expect, test, vi } from 'vitest'
import { createDoorbell, Doorbell } from './doorbell.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

test('a ring between prepare and wait is not lost', () => {
  const bell = new Doorbell(createDoorbell())
  const ticket = bell.prepare()
  bell.ring()
  expect(bell.wait(ticket, 10_000)).toBe(true)
})

test('a wait that nobody rings ends at its time and says so', () => {
  const bell = new Doorbell(createDoorbell())
  expect(bell.wait(bell.prepare(), 1)).toBe(false)
})

test('a ticket of an earlier sleep does not sleep again', () => {
  const bell = new Doorbell(createDoorbell())
  const old = bell.prepare()
  bell.ring()
  bell.prepare()
  expect(bell.wait(old, 10_000)).toBe(true)
})

test('a notify happens only where a sleep is announced, and once for it', () => {
  const notify = vi.spyOn(Atomics, 'notify')
  const bell = new Doorbell(createDoorbell())
  bell.ring()
  bell.prepare()
  bell.cancel()
  bell.ring()
  expect(bell.wait(bell.prepare(), 0)).toBe(false)
  bell.ring()
  expect(notify).not.toHaveBeenCalled()
  bell.prepare()
  bell.ring()
  bell.ring()
  expect(notify).toHaveBeenCalledTimes(1)
})

test('a thread that keeps its event loop can sleep too', async () => {
  const bell = new Doorbell(createDoorbell())
  const rung = bell.waitAsync(bell.prepare(), 10_000)
  bell.ring()
  expect(await rung).toBe(true)
  expect(await bell.waitAsync(bell.prepare(), 1)).toBe(false)
})
