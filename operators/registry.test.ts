import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
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
})
