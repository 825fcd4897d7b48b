import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createDoorbell, Doorbell } from './doorbell.ts'
import * as layout from './layout.ts'
import { createRing, RingConsumer, RingProducer } from './spsc-ring.ts'

function ringAt(capacityBytes: number, position = 0): SharedArrayBuffer {
  const sab = createRing(capacityBytes)
  const i32 = new Int32Array(sab)
  i32[layout.TAIL_INDEX] = position
  i32[layout.HEAD_INDEX] = position
  return sab
}

function bothEnds(sab: SharedArrayBuffer): { producer: RingProducer; consumer: RingConsumer } {
  const room = createDoorbell()
  return {
    producer: new RingProducer(sab, new Doorbell(createDoorbell()), new Doorbell(room)),
    consumer: new RingConsumer(sab, new Doorbell(room)),
  }
}

describe('against a queue', () => {
  interface Sent {
    kind: number
    bytes: Uint8Array
  }
  const command = fc.oneof(
    fc.record({ push: fc.uint8Array({ maxLength: 600 }), abort: fc.boolean() }),
    fc.record({ take: fc.integer({ min: 1, max: 4 }), peekTwice: fc.boolean() }),
  )

  test('frames arrive whole, once and in order, over any wrap of places and of int32 positions', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(64, 128, 256, 1024),
        fc.oneof(
          fc.integer({ min: -(2 ** 28), max: 2 ** 28 - 1 }).map((units) => units * 8),
          fc.integer({ min: 1, max: 64 }).map((units) => (2 ** 31 - units * 8) | 0),
        ),
        fc.array(command, { maxLength: 200 }),
        (capacity, position, commands) => {
          const { producer, consumer } = bothEnds(ringAt(capacity, position))
          const queue: Sent[] = []
          let kind = 0
          for (const step of commands) {
            if ('push' in step) {
              const bytes = step.push.subarray(0, producer.frameBytesMax)
              const at = producer.claim(bytes.length)
              if (at < 0) {
                expect(queue.length, 'an empty ring has room for the largest frame').toBeGreaterThan(0)
                continue
              }
              expect(at & 7).toBe(0)
              expect(at + bytes.length).toBeLessThanOrEqual(producer.u8.length)
              producer.u8.set(bytes, at)
              if (step.abort) producer.abort()
              else {
                producer.commit(++kind)
                queue.push({ kind, bytes: bytes.slice() })
              }
              continue
            }
            for (let i = 0; i < step.take; i++) {
              const expected = queue[0]
              if (step.peekTwice) consumer.peek()
              expect(consumer.peek()).toBe(expected?.kind ?? -1)
              if (expected === undefined) break
              const { position: at, length } = consumer
              expect(consumer.u8.slice(at, at + length)).toEqual(expected.bytes)
              consumer.release()
              queue.shift()
            }
          }
        },
      ),
    )
  })

  test('once drained, the largest frame can be claimed wherever the tail stands', () => {
    for (let units = 0; units < 32; units++) {
      const { producer, consumer } = bothEnds(ringAt(128))
      for (let i = 0; i < units; i++) {
        expect(producer.claim(0)).toBeGreaterThan(0)
        producer.commit(0)
        expect(consumer.peek()).toBe(0)
        consumer.release()
      }
      expect(producer.claim(producer.frameBytesMax)).toBeGreaterThan(0)
    }
  })
})

test('a consumer that goes on releasing gives room back after a quarter of the ring at the latest', () => {
  const { producer, consumer } = bothEnds(ringAt(256))
  while (producer.claim(8) >= 0) producer.commit(1)
  let released = 0
  while (producer.claim(8) < 0) {
    expect(consumer.peek()).toBe(1)
    consumer.release()
    released++
  }
  expect(released * layout.frameBytes(8)).toBeLessThanOrEqual(256 / 4)
})

test('an aborted claim leaves nothing behind', () => {
  const { producer, consumer } = bothEnds(ringAt(64))
  for (let i = 0; i < 100; i++) {
    expect(producer.claim(24)).toBeGreaterThan(0)
    producer.abort()
  }
  expect(consumer.peek()).toBe(-1)
})

test('ends made later go on where the earlier ones stopped', () => {
  const sab = ringAt(128)
  const first = bothEnds(sab)
  first.producer.claim(8)
  first.producer.commit(7)
  const second = bothEnds(sab)
  expect(second.consumer.peek()).toBe(7)
  second.consumer.release()
  second.producer.claim(8)
  second.producer.commit(8)
  expect(second.consumer.peek()).toBe(8)
})

test('waiting for room says no after its time, and yes at once where there is room', async () => {
  const { producer, consumer } = bothEnds(ringAt(64))
  expect(producer.waitForRoom(24, 0)).toBe(true)
  while (producer.claim(24) >= 0) producer.commit(1)
  expect(producer.waitForRoom(24, 5)).toBe(false)
  expect(await producer.whenRoom(24, 5)).toBe(false)
  const room = producer.whenRoom(24, 10_000)
  while (consumer.peek() >= 0) consumer.release()
  expect(await room).toBe(true)
})

describe('misuse stops the thread', () => {
  const misuse: Record<string, (ends: ReturnType<typeof bothEnds>) => void> = {
    'a claim before the last is committed': ({ producer }) => [producer.claim(8), producer.claim(8)],
    'a commit without a claim': ({ producer }) => producer.commit(1),
    'a negative kind': ({ producer }) => [producer.claim(8), producer.commit(-1)],
    'a frame larger than half the ring': ({ producer }) => producer.claim(producer.frameBytesMax + 1),
    'waiting for room that can never be': ({ producer }) =>
      producer.waitForRoom(producer.frameBytesMax + 1, 0),
    'a release without a peek': ({ consumer }) => consumer.release(),
  }
  for (const [name, run] of Object.entries(misuse)) {
    test(name, () => expect(() => run(bothEnds(ringAt(64)))).toThrow(/\[.*\]|follows/))
  }
  test.each([0, 32, 100, 2 ** 31])('a capacity of %d', (capacity) => {
    expect(() => createRing(capacity)).toThrow(/power of two/)
  })
  test('a buffer that is no ring', () => {
    expect(() => new RingConsumer(new SharedArrayBuffer(512))).toThrow(/createRing/)
  })
})
