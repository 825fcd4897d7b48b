/** The rings that are explored: as small as they can be and still wrap, pad, fill, run dry and sleep on both sides. */
import * as layout from '../../engine/ring/layout.ts'
import type { ModelThread } from './access.ts'
import type { Memory, Scenario } from './explorer.ts'
import {
  ModelConsumer,
  ModelDoorbell,
  ModelProducer,
  type ModelRing,
  type Mutant,
  pushFrames,
  takeFrames,
} from './model.ts'

export interface Shape {
  readonly name: string
  readonly capacity: number
  readonly publishBytes: number
  readonly start: number
  /** Payload bytes of each frame, for each producer. */
  readonly sizes: readonly (readonly number[])[]
}

/** Positions that pass 2^31 on the way. */
const BEFORE_WRAP = 2 ** 31 - 16

export const SHAPES: readonly Shape[] = [
  {
    name: 'four units, several wraps, past 2^31',
    capacity: 32,
    publishBytes: 8,
    start: BEFORE_WRAP,
    sizes: [[8, 0, 8, 8, 0, 8]],
  },
  {
    name: 'head published late, so that the producer waits for the drain',
    capacity: 32,
    publishBytes: 24,
    start: 8,
    sizes: [[8, 8, 0, 8, 8, 0]],
  },
  {
    name: 'eight units, long padding',
    capacity: 64,
    publishBytes: 16,
    start: BEFORE_WRAP,
    sizes: [[16, 8, 24, 24, 0, 16]],
  },
  {
    name: 'two producers, one bell',
    capacity: 32,
    publishBytes: 16,
    start: 0,
    sizes: [[8, 0], [8]],
  },
]

const RING_WORDS = 1 << 16
const BELL = 1 << 20

export function scenarioOf(
  shape: Shape,
  memory: Memory,
  options: { timeouts: boolean; mutant: Mutant | null },
): Scenario {
  const { mutant } = options
  const words = new Map<number, number>([[BELL, 0]])
  const rings = shape.sizes.map((_, index): ModelRing => {
    const { capacity, publishBytes, start } = shape
    const base = index * RING_WORDS
    words.set(base + layout.TAIL_INDEX, start)
    words.set(base + layout.HEAD_INDEX, start)
    for (let i = 0; i < capacity; i += 4) words.set(base + ((layout.FRAMES_AT + i) >> 2), 0)
    words.set(BELL + 1 + index, 0)
    return { base, capacity, publishBytes, start, mutant }
  })
  const wakes = (): ModelDoorbell => new ModelDoorbell(BELL, mutant)
  const roomOf = (index: number): ModelDoorbell => new ModelDoorbell(BELL + 1 + index, mutant)
  const producers = rings.map(
    (ring, index): ModelThread => ({
      name: rings.length === 1 ? 'producer' : `producer ${index}`,
      start() {
        const producer = new ModelProducer(ring, wakes(), roomOf(index))
        const script = { frame: 0, sizes: shape.sizes[index]! }
        return {
          program: pushFrames(producer, script),
          fields: () => [producer.fields(), script.frame],
        }
      },
    }),
  )
  const consumer: ModelThread = {
    name: 'consumer',
    start() {
      const consumers = rings.map((ring, index) => new ModelConsumer(ring, roomOf(index)))
      const script = { taken: rings.map(() => 0), sizes: shape.sizes, ring: 0, look: '' }
      return {
        program: takeFrames(consumers, wakes(), script, mutant),
        fields: () => [consumers.map((one) => one.fields()), script.taken, script.ring, script.look],
      }
    },
  }
  return {
    threads: [...producers, consumer],
    words,
    memory,
    timeouts: options.timeouts,
    statesMax: 500_000,
  }
}
