/**
 * Rows merged in bulk by WebAssembly made for the accumulators of one plan, in a memory of its own: what sliding windows
 * keep of their slices lies there (slice-folds.ts). Two to three times as fast as the same loop in JavaScript.
 *
 * Guarantee: the cells are those that the accumulators' `merge` gives, bit by bit: the same operations on the same numbers
 * in the same order.
 */
import { assert } from '../util/assert.ts'
import * as wasm from '../util/wasm.ts'
import type { RowLayout } from './row-layout.ts'

/** Of a memory: 4 GiB. */
const PAGES_MAX = 65_536

/** Compiled once a thread: by kinds of accumulators and width of a row. */
const modules = new Map<string, object>()

export class MergeKernel {
  /** All of the memory. */
  readonly cells: Float64Array
  readonly #merge: (into: number, later: number, rows: number) => number

  constructor(module: object, memory: wasm.WasmMemory, cellCount: number) {
    this.cells = new Float64Array(memory.buffer, 0, cellCount)
    const { merge } = wasm.runWasm(module, memory)
    assert(merge !== undefined, 'a kernel is whole')
    this.#merge = merge
  }

  /** Merges `rows` rows at cell `later` into those at cell `into`, which hold an older part of the same groups' time. */
  merge(into: number, later: number, rows: number): void {
    this.#merge(into * 8, later * 8, rows)
  }
}

/** With room for `cellCount` cells. Null: an accumulator has no instructions, or the process has no room. */
export function openMergeKernel(layout: RowLayout, cellCount: number): MergeKernel | null {
  const pages = Math.ceil((cellCount * 8) / wasm.WASM_PAGE_BYTES)
  const module = pages > PAGES_MAX ? null : moduleOf(layout)
  if (module === null) return null
  try {
    return new MergeKernel(module, wasm.openWasmMemory(pages, PAGES_MAX), cellCount)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

function moduleOf(layout: RowLayout): object | null {
  const name = `${layout.accumulators.map(({ kind }) => kind).join('+')}/${layout.stride}`
  let module = modules.get(name)
  if (module === undefined) {
    const merge = mergeFunction(layout)
    if (merge === null) return null
    module = wasm.compileWasm([merge], 1, PAGES_MAX)
    modules.set(name, module)
  }
  return module
}

const INTO = 0
const LATER = 1
const ROWS = 2
const I = 3
const SCRATCH = [4, 5, 6, 7, 8, 9, 10, 11] as const

function mergeFunction({ accumulators, lanes, stride }: RowLayout): wasm.WasmFunction | null {
  const merge: wasm.Code[] = []
  for (const [k, accumulator] of accumulators.entries()) {
    if (accumulator.mergeInstructions === undefined) return null
    const offset = lanes[k]! * 8
    merge.push(...accumulator.mergeInstructions({ into: INTO, later: LATER, offset, scratch: SCRATCH }))
  }
  const copy = Array.from({ length: stride }, (_, cell): wasm.Code => {
    return [...wasm.get(INTO), ...wasm.get(LATER), ...wasm.loadF64(cell * 8), ...wasm.storeF64(cell * 8)]
  })
  const isFilled = (row: number): wasm.Code => {
    return [...wasm.get(row), ...wasm.loadF64(), ...wasm.f64(0), ...wasm.F64_UNEQUAL]
  }
  const nextRow = (row: number): wasm.Code => {
    return [...wasm.get(row), ...wasm.i32(stride * 8), ...wasm.I32_ADD, ...wasm.set(row)]
  }
  return {
    name: 'merge',
    params: [wasm.I32, wasm.I32, wasm.I32],
    result: wasm.I32,
    locals: [wasm.I32, ...SCRATCH.map((): wasm.ValueType => wasm.F64)],
    body: [
      wasm.block(
        wasm.loop(
          [...wasm.get(I), ...wasm.get(ROWS), ...wasm.I32_NOT_LESS, ...wasm.branchIf(1)],
          isFilled(LATER),
          wasm.when([isFilled(INTO), wasm.when(merge, copy)]),
          nextRow(INTO),
          nextRow(LATER),
          [...wasm.get(I), ...wasm.i32(1), ...wasm.I32_ADD, ...wasm.set(I), ...wasm.branch(0)],
        ),
      ),
      wasm.get(I),
    ],
  }
}
