/** Generated files are those that the sources make; every expression parses and names only metrics and labels there are. */
import { readFileSync } from 'node:fs'
import { parser } from '@prometheus-io/lezer-promql'
import { describe, expect, test } from 'vitest'
import { CATALOG, DERIVED } from '../engine/metrics/catalog.ts'
import { generated } from './build.ts'
import { expressionsOf, forEverything } from './expressions.ts'
import { DASHBOARDS } from './grafana/index.ts'
import { labelsOf } from './monitoring-page.ts'
import { RECORDING_RULES } from './prometheus/rules.ts'

const OF_EVERY_TARGET = ['job', 'instance']
const NAMES = new Map<string, readonly string[]>()
for (const metric of CATALOG) {
  const suffixes = metric.type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
  for (const suffix of suffixes) {
    const le = suffix === '_bucket' ? ['le'] : []
    NAMES.set(metric.name + suffix, [...labelsOf(metric), ...le, ...OF_EVERY_TARGET])
  }
}
NAMES.set(DERIVED.up.name, OF_EVERY_TARGET)
NAMES.set(DERIVED.buildInfo.name, ['version', 'node', ...OF_EVERY_TARGET])
NAMES.set(DERIVED.watermarkLag.name, ['pipeline', ...OF_EVERY_TARGET])
for (const { name } of [
  DERIVED.seriesValue,
  DERIVED.seriesScore,
  DERIVED.seriesExpected,
  DERIVED.seriesLower,
  DERIVED.seriesUpper,
]) {
  NAMES.set(name, ['pipeline', 'detector', 'series', ...OF_EVERY_TARGET])
}
NAMES.set(DERIVED.seriesLeftOut.name, OF_EVERY_TARGET)
NAMES.set(DERIVED.heartbeatAge.name, ['thread', ...OF_EVERY_TARGET])
for (const rule of RECORDING_RULES) NAMES.set(rule.record, ['pipeline', ...OF_EVERY_TARGET])

const EXPRESSIONS = [...expressionsOf('dashboards'), ...expressionsOf('rules')].map(({ at, expr }) => ({
  at,
  expr: forEverything(expr),
}))

/** What is wrong with an expression: places that do not parse, names of metrics and labels that do not exist. */
function faultsOf(expr: string): string[] {
  const faults: string[] = []
  const text = (node: { from: number; to: number }): string => expr.slice(node.from, node.to)
  parser.parse(expr).iterate({
    enter(node) {
      if (node.type.isError)
        faults.push(`does not parse at ${node.from}: ${expr.slice(node.from, node.from + 20)}`)
      if (node.name !== 'VectorSelector') return
      const identifier = node.node.getChild('Identifier')
      const name = identifier === null ? '' : text(identifier)
      const labels = NAMES.get(name)
      if (labels === undefined) faults.push(`no metric ${name}`)
      node.node.cursor().iterate((inner) => {
        if (inner.name !== 'LabelName' || labels === undefined) return
        if (!labels.includes(text(inner))) faults.push(`${name} has no label ${text(inner)}`)
      })
    },
  })
  return faults
}

describe('the check itself finds', () => {
  test('a metric that does not exist', () => {
    expect(faultsOf('rate(millrace_no_such_total[5m])')).toEqual(['no metric millrace_no_such_total'])
  })
  test('a label that does not exist', () => {
    expect(faultsOf('millrace_up{pipeline="x"}')).toEqual(['millrace_up has no label pipeline'])
  })
  test('what does not parse', () => {
    expect(faultsOf('sum by (le (rate(millrace_up[5m]))')).not.toEqual([])
  })
})

test('there are expressions to check', () => {
  expect(EXPRESSIONS.length).toBeGreaterThan(50)
})

test.each(EXPRESSIONS)('$at: $expr', ({ expr }) => {
  expect(faultsOf(expr)).toEqual([])
})

test.each([...generated()])('%s is what `npm run dashboards` makes', (path, text) => {
  expect(readFileSync(path, 'utf8')).toBe(text)
})

interface Placed {
  readonly title?: string
  readonly description?: string
  readonly type: string
  readonly gridPos?: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
}

describe.each(Object.entries(DASHBOARDS))('%s', (_file, build) => {
  const panels = (build().panels ?? []) as readonly Placed[]

  test('no two panels lie over each other, and none beyond the edge', () => {
    const taken = new Map<string, string>()
    for (const { gridPos, title = '' } of panels) {
      if (gridPos === undefined) throw new Error(`${title} has no place`)
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.get(`${x}:${y}`) ?? title, `${title} at ${x}, ${y}`).toBe(title)
          taken.set(`${x}:${y}`, title)
        }
      }
    }
  })

  test('every panel says what it shows', () => {
    for (const { type, title, description } of panels) {
      expect(title ?? '', type).not.toBe('')
      if (type !== 'row') expect(description ?? '', title).not.toBe('')
    }
  })
})
