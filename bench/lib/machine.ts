/**
 * The machine beside a figure, measured in the same run: a figure from another machine, or from this one on a bad day,
 * can then be told apart. fsyncPerSecond appends 4 KiB and calls fdatasync, on the scratch directory's disk.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { median } from './measure.ts'
import { openScratch } from './scratch.ts'

export interface Machine {
  cpu: string
  cores: number
  memoryGiB: number
  node: string
  platform: string
  memcpyBytesPerSecond: number
  fsyncPerSecond: number
}

const COPY_BYTES = 32 * 1024 * 1024
const COPY_ROUNDS = 9
const SYNC_BYTES = 4096
const SYNC_ROUNDS = 5
const SYNCS_A_ROUND = 50

export function measureMachine(): Machine {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    node: process.version,
    platform: `${platform()} ${arch()} ${release()}`,
    memcpyBytesPerSecond: Math.round(memcpyBytesPerSecond()),
    fsyncPerSecond: Math.round(fsyncPerSecond()),
  }
}

function memcpyBytesPerSecond(): number {
  const from = new Uint8Array(COPY_BYTES).fill(1)
  const to = new Uint8Array(COPY_BYTES).fill(2)
  const rates: number[] = []
  for (let i = 0; i < COPY_ROUNDS; i++) {
    const start = performance.now()
    to.set(from)
    rates.push(COPY_BYTES / ((performance.now() - start) / 1000))
  }
  return median(rates)
}

function fsyncPerSecond(): number {
  const scratch = openScratch('fsync')
  const block = new Uint8Array(SYNC_BYTES)
  const file = openSync(join(scratch.path, 'fsync'), 'w')
  try {
    const rates: number[] = []
    for (let i = 0; i < SYNC_ROUNDS; i++) {
      const start = performance.now()
      for (let j = 0; j < SYNCS_A_ROUND; j++) {
        writeSync(file, block)
        fdatasyncSync(file)
      }
      rates.push(SYNCS_A_ROUND / ((performance.now() - start) / 1000))
    }
    return median(rates)
  } finally {
    closeSync(file)
    scratch.remove()
  }
}
