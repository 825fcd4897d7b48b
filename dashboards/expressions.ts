/** Every PromQL expression there is in dashboards and rules, with the place that it comes from. For tests. */
import { DASHBOARDS } from './grafana/index.ts'
import { ALERT_RULES, RECORDING_RULES } from './prometheus/rules.ts'

export interface Expression {
  readonly at: string
  readonly expr: string
}

export function expressionsOf(what: 'dashboards' | 'rules'): readonly Expression[] {
  if (what === 'rules') {
    return [
      ...RECORDING_RULES.map((rule) => ({ at: rule.record, expr: rule.expr })),
      ...ALERT_RULES.map((rule) => ({ at: rule.alert, expr: rule.expr })),
    ]
  }
  const found: Expression[] = []
  for (const [file, build] of Object.entries(DASHBOARDS)) {
    const at: string[] = [file]
    collect(build(), at, found)
  }
  return found
}

/** Any object with `expr` is a query; titles on the way down say where it is. */
function collect(value: unknown, at: readonly string[], into: Expression[]): void {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) {
    for (const one of value) collect(one, at, into)
    return
  }
  const title = 'title' in value && typeof value.title === 'string' ? [...at, value.title] : at
  if ('expr' in value && typeof value.expr === 'string')
    into.push({ at: title.join(' / '), expr: value.expr })
  for (const one of Object.values(value)) collect(one, title, into)
}

/** The expression as Grafana asks it with all of every variable chosen. */
export function forEverything(expr: string): string {
  return expr.replaceAll('$__rate_interval', '5m').replaceAll(/"\$(job|instance|pipeline)"/g, '".*"')
}
