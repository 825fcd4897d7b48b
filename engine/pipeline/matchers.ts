/**
 * Conditions of `where`: from what a person wrote to plan data, and from plan data to a test of a label set. Evaluated
 * once per (series, pipeline), never per sample. An absent label equals the empty text, as in Prometheus.
 */
import { definitionOf } from '../contract/definition.ts'
import type { Fault } from '../contract/errors.ts'
import type { LabelMatcher, MatchOp } from '../contract/plan.ts'
import { type Labels, NAME_LABEL } from '../contract/samples.ts'

export const LABEL_LENGTH_MAX = 200

/** `name` is how people write the metric's name. */
export function labelOf(written: string): string {
  return written === 'name' ? NAME_LABEL : written
}

/** What is wrong with a label's name, or null. Line protocol tags may be any text, so this only stops accidents. */
export function labelProblem(label: unknown): string | null {
  if (typeof label !== 'string') return 'is not a label name'
  if (label === '') return 'is an empty label name'
  if (label.length > LABEL_LENGTH_MAX) return `is longer than ${LABEL_LENGTH_MAX} characters`
  if (label !== label.trim()) return 'starts or ends with white space'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(label)) return 'holds a control character'
  return null
}

export const LABEL_REMEDY = 'Write a label name such as "instance"; "name" means the metric\'s name.'

const CONDITION_REMEDY =
  'Write a text, a list of texts (one of them), a regular expression (of the whole value), or not(…) of one of these.'

/** One condition as plan data, or null and a fault. */
export function compileMatcher(
  written: string,
  condition: unknown,
  place: string,
  faults: Fault[],
): LabelMatcher | null {
  const problem = labelProblem(written)
  if (problem !== null) {
    faults.push({ place, value: written, problem, remedy: LABEL_REMEDY })
    return null
  }
  const negation = definitionOf(condition, 'not')
  const value = negation === null ? condition : negation.value
  const label = labelOf(written)
  const matcher = (op: MatchOp, against: string | readonly string[]): LabelMatcher => ({
    label,
    op,
    value: against,
  })
  if (typeof value === 'string') return matcher(negation === null ? '=' : '!=', value)
  if (value instanceof RegExp) {
    if (!patternFits(value, place, faults)) return null
    return matcher(negation === null ? '=~' : '!~', value.source)
  }
  if (Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string')) {
    const values = [...new Set<string>(value)].sort()
    if (values.length === 1) return matcher(negation === null ? '=' : '!=', values[0]!)
    return negation === null ? matcher('in', values) : matcher('!~', values.map(escapePattern).join('|'))
  }
  faults.push({ place, value, problem: 'is not a condition', remedy: CONDITION_REMEDY })
  return null
}

function patternFits(pattern: RegExp, place: string, faults: Fault[]): boolean {
  if (pattern.flags !== '') {
    const remedy = `Write /${pattern.source}/ without flags; for either case, write classes such as [aA].`
    faults.push({ place, value: String(pattern), problem: 'has flags, which a plan does not keep', remedy })
    return false
  }
  try {
    anchored(pattern.source)
    return true
  } catch (error) {
    const problem = `does not compile: ${(error as Error).message}`
    faults.push({
      place,
      value: String(pattern),
      problem,
      remedy: 'Write a regular expression of JavaScript.',
    })
    return false
  }
}

function anchored(source: string): RegExp {
  return new RegExp(`^(?:${source})$`)
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
}

/** The conditions as one test of a series' labels. */
export function labelTest(where: readonly LabelMatcher[]): (labels: Labels) => boolean {
  const tests = where.map(({ label, op, value }) => {
    const test = valueTest(op, value)
    return (labels: Labels) => test(labels[label] ?? '')
  })
  return (labels) => tests.every((test) => test(labels))
}

function valueTest(op: MatchOp, value: string | readonly string[]): (text: string) => boolean {
  if (op === 'in') {
    const values = new Set(value)
    return (text) => values.has(text)
  }
  const against = String(value)
  if (op === '=') return (text) => text === against
  if (op === '!=') return (text) => text !== against
  const pattern = anchored(against)
  return op === '=~' ? (text) => pattern.test(text) : (text) => !pattern.test(text)
}
