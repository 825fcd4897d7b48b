import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Fault } from '../engine/contract/errors.ts'
import { registry } from './registry.ts'

const EXPORTED = /export const (\w+(?:Plugin|Accumulator))\b/g

/** Names of all plug-ins and accumulators that files in these folders export. */
function declared(folder: string): string[] {
  const url = new URL(`${folder}/`, import.meta.url)
  return readdirSync(url, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .flatMap((file) =>
      [...readFileSync(new URL(file, url), 'utf8').matchAll(EXPORTED)].map((match) => match[1]!),
    )
    .sort()
}

function listed(): string[] {
  const names = (plugins: ReadonlyMap<string, unknown>, suffix: string) =>
    [...plugins.keys()].map((kind) => `${camel(kind)}${suffix}`)
  return [
    ...names(registry.windows, 'Plugin'),
    ...names(registry.accumulators, 'Accumulator'),
    ...names(registry.aggregates, 'Plugin'),
    ...names(registry.detectors, 'Plugin'),
    ...names(registry.sinks, 'Plugin'),
  ].sort()
}

const camel = (kind: string): string => kind.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())

describe('the registry', () => {
  test('lists every plug-in that has a file, under the kind its name says', () => {
    expect(listed()).toEqual(['windows', 'aggregates', 'detectors', 'sinks'].flatMap(declared).sort())
  })

  test('every aggregate finds its accumulators', () => {
    for (const { kind, accumulators } of registry.aggregates.values()) {
      expect(accumulators.length, kind).toBeGreaterThan(0)
      for (const accumulator of accumulators) expect(registry.accumulators.has(accumulator), kind).toBe(true)
    }
  })

  // State of before would be read as something else: whoever changes a number here raises the plug-in's cellsVersion, or says
  // that it was never stored.
  test('detectors keep their cells, or have another version', () => {
    const needed: Readonly<Record<string, unknown>> = {
      threshold: { above: 1 },
      'rate-of-change': { by: 1, within: '1m' },
      'page-hinkley': { tolerance: 1, limit: 4 },
      'holt-winters': { season: '1d' },
    }
    const cells = [...registry.detectors.values()].map((plugin) => {
      const faults: Fault[] = []
      const options = plugin.options.parse(needed[plugin.kind] ?? {}, plugin.kind, faults)
      expect(faults).toEqual([])
      const { width } = plugin.create(options as never, plugin.subject === 'vector' ? ['a', 'b'] : undefined)
      return `${plugin.kind} ${plugin.cellsVersion ?? 1}: ${width}`
    })
    expect(cells.sort()).toEqual([
      'auto 3: 1813',
      'change-point 1: 329',
      'context-memory 2: 1171',
      'cusum 1: 8',
      'discord 2: 1077',
      'ewma 1: 10',
      'half-space-trees 1: 1309',
      'holt-winters 1: 103',
      'hour-of-week 1: 508',
      'knn-cad 1: 392',
      'mad 1: 122',
      'page-hinkley 1: 8',
      'pca 1: 16',
      'peers 1: 1',
      'random-cut-forest 1: 1468',
      'range-breach 1: 9',
      'rate-of-change 1: 3',
      'relative-entropy 1: 178',
      'silence 1: 3',
      'spot 1: 112',
      'threshold 1: 0',
    ])
  })
})
