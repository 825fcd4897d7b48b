import { expect, test } from 'vitest'
import { HeldBell } from './held-bell.ts'

function counted() {
  const rings = { count: 0 }
  return { rings, bell: new HeldBell({ ring: () => rings.count++ }) }
}

test('however many frames are pushed together, the consumer is woken once, when they are all there', () => {
  const { rings, bell } = counted()
  for (let i = 0; i < 20; i++) bell.ring()
  expect(rings.count).toBe(0)
  bell.release()
  expect(rings.count).toBe(1)
})

test('a long push is drained while it goes on', () => {
  const { rings, bell } = counted()
  for (let i = 0; i < 1_000; i++) bell.ring()
  expect(rings.count).toBe(3)
})
