/**
 * One pipeline's definition, part by part, into a plan. Every part is looked at even after a fault, so that a person sees
 * all of them at once. Used by plan.ts only.
 */

import { knownRemedy } from '../config/did-you-mean.ts'
import { duration, type OptionType, parseValue } from '../config/options.ts'
import { type ChoiceDefinition, definitionOf, type PipelineDefinition } from '../contract/definition.ts'
import type { Fault } from '../contract/errors.ts'
import type {
  AggregatePlan,
  DetectorPlan,
  LabelMatcher,
  PipelinePlan,
  SinkPlan,
  TopicSpec,
  WindowPlan,
} from '../contract/plan.ts'
import type { OptionSpec, Registry } from '../contract/plugins.ts'
import { compileAlert } from './alert-options.ts'
import { exchangeFaults, exchangeFor, isCovered } from './coverage.ts'
import { judgedOf, subjectFault, unknownColumns } from './judged-columns.ts'
import { compileMatcher, LABEL_REMEDY, labelOf, labelProblem } from './matchers.ts'
import { ownDetector } from './own-detectors.ts'
import { peersFaults, peersOf, sharedBy } from './peers.ts'

export const DISORDER_DEFAULT = '5s'
export const IDLE_DEFAULT = '15s'
export const PARTITIONS_MAX = 1_024
/** Of each: conditions, group labels, aggregates, detectors, sinks. */
export const PARTS_MAX = 64

const DISORDER = duration({ maxMs: 7 * 86_400_000 })
const IDLE = duration({ minMs: 100, maxMs: 7 * 86_400_000 })
const HOLD = duration({ maxMs: 7 * 86_400_000 })
const NAME_PATTERN = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/
const NAME_REMEDY = 'Write 1 to 100 letters, digits, "_", "-" and ".", not starting with "-" or ".".'
const COLUMN_PATTERN = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/
const COLUMN_REMEDY = 'Write 1 to 64 letters, digits and "_", not starting with a digit.'
const FEEDS: readonly unknown[] = ['alerts', 'results', 'late']

export interface PlanDefaults {
  /** Of topics that do not say how many partitions they have. */
  readonly partitions: number
}

export class PlanCompiler {
  readonly #written: PipelineDefinition
  readonly #registry: Registry
  readonly #root: string
  readonly #faults: Fault[]

  constructor(written: PipelineDefinition, registry: Registry, root: string, faults: Fault[]) {
    this.#written = written
    this.#registry = registry
    this.#root = root
    this.#faults = faults
  }

  /** Meaningless once there is a fault: parts at fault are left out or filled with anything. */
  plan(defaults: PlanDefaults): PipelinePlan {
    const written = this.#written
    this.#name(written.name, 'name')
    const topic = this.#topic(defaults)
    const where = this.#where()
    const groupBy = this.#groupBy()
    const { window, aggregates } = this.#window()
    const detectors = this.#detectors(aggregates)
    const sinks = this.#sinks(detectors.length > 0)
    const peers = peersOf(detectors, this.#registry)
    this.#faults.push(...peersFaults(peers, topic, where, groupBy, this.#root))
    const isWhole = (labels: readonly string[] | null): boolean =>
      topic === null || isCovered(topic, where, labels)
    const isSpread =
      topic !== null && groupBy !== null && ![groupBy, ...peers.map(({ by }) => by)].every(isWhole)
    const by = peers.length === 0 ? groupBy : sharedBy(peers)
    if (isSpread) {
      const place = `${this.#root}.window`
      this.#faults.push(...exchangeFaults(topic, by ?? groupBy, aggregates ?? [], this.#registry, place))
    }
    return {
      plan: 1,
      name: written.name,
      topic: topic ?? { name: '', partitions: 1, partitionBy: null },
      where,
      groupBy,
      disorderMs: this.#duration(DISORDER, written.disorder ?? DISORDER_DEFAULT, 'disorder'),
      idleMs: this.#duration(IDLE, written.idle ?? IDLE_DEFAULT, 'idle'),
      window: window ?? { kind: '', options: {}, sizeMs: 1, everyMs: 1, sliceMs: 1 },
      aggregates: aggregates ?? [],
      detectors,
      sinks,
      ...(isSpread
        ? { exchange: { ...exchangeFor(topic), ...(peers.length === 0 ? {} : { by: sharedBy(peers) }) } }
        : {}),
    }
  }

  #fault(path: string, value: unknown, problem: string, remedy: string): void {
    this.#faults.push({ place: `${this.#root}.${path}`, value, problem, remedy })
  }

  #name(name: unknown, path: string): void {
    if (typeof name !== 'string' || !NAME_PATTERN.test(name))
      this.#fault(path, name, 'is not a name', NAME_REMEDY)
  }

  #duration(type: OptionType<unknown, number, 'Ms'>, value: unknown, path: string): number {
    return parseValue(type, value, `${this.#root}.${path}`, this.#faults) ?? 0
  }

  /** Refuses more than a plan may have of one sort of part. */
  #bounded(count: number, path: string): void {
    if (count > PARTS_MAX)
      this.#fault(path, count, 'are too many', `At most ${PARTS_MAX}; split the pipeline.`)
  }

  #topic(defaults: PlanDefaults): TopicSpec | null {
    const [first, ...more] = this.#written.topics
    if (more.length > 0) {
      this.#fault('from', this.#written.topics.length, 'is called more than once', 'Read one topic.')
    }
    const written = definitionOf(first, 'topic')
    if (written === null) {
      const problem = first === undefined ? 'is missing' : 'is not a topic'
      this.#fault('from', first, problem, 'Write .from(topic("metrics")).')
      return null
    }
    const before = this.#faults.length
    const { name, partitions = defaults.partitions, partitionBy } = written
    this.#name(name, 'topic.name')
    if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_MAX) {
      const remedy = `Write a whole number from 1 to ${PARTITIONS_MAX}; it is fixed when the topic is made.`
      this.#fault('topic.partitions', partitions, 'is not a count of partitions', remedy)
    }
    const labels =
      partitionBy === undefined || partitionBy === null
        ? null
        : this.#labels(partitionBy, 'topic.partitionBy')
    if (labels !== null && labels.length === 0 && before === this.#faults.length) {
      const remedy = 'Name at least one label, leave it out to partition by series, or write partitions: 1.'
      this.#fault('topic.partitionBy', partitionBy, 'names no label', remedy)
    }
    return this.#faults.length > before ? null : { name, partitions, partitionBy: labels }
  }

  /** Sorted, so that plans that mean the same are the same. */
  #labels(written: readonly unknown[], path: string): readonly string[] {
    if (!Array.isArray(written)) {
      this.#fault(path, written, 'is not a list of labels', 'Write a list such as ["instance"].')
      return []
    }
    this.#bounded(written.length, path)
    const labels = new Set<string>()
    for (const one of written) {
      const problem = labelProblem(one)
      if (problem !== null) this.#fault(path, one, problem, LABEL_REMEDY)
      else if (labels.has(labelOf(one))) this.#fault(path, one, 'is named twice', 'Name each label once.')
      else labels.add(labelOf(one))
    }
    return [...labels].sort()
  }

  #where(): LabelMatcher[] {
    const written = this.#written.where
    this.#bounded(written.length, 'where')
    const matchers: LabelMatcher[] = []
    for (const [label, condition] of written) {
      const matcher = compileMatcher(label, condition, `${this.#root}.where.${label}`, this.#faults)
      if (matcher !== null) matchers.push(matcher)
    }
    return matchers
  }

  #groupBy(): readonly string[] | null {
    const written = this.#written.groupBy
    return written === null ? null : this.#labels(written, 'groupBy')
  }

  /** Aggregates are null where none could be read, so that `detect` is not blamed for a missing window. */
  #window(): { window: WindowPlan | null; aggregates: AggregatePlan[] | null } {
    const [first, ...more] = this.#written.windows
    if (more.length > 0)
      this.#fault('window', more.length + 1, 'is called more than once', 'Use one window a pipeline.')
    if (first === undefined) {
      const remedy = 'Write .window(tumbling("1m"), { mean: mean() }).'
      this.#fault('window', undefined, 'is missing', remedy)
      return { window: null, aggregates: null }
    }
    return { window: this.#windowPlan(first.window), aggregates: this.#aggregates(first.aggregates) }
  }

  #windowPlan(written: unknown): WindowPlan | null {
    const chosen = this.#choice(written, 'window', this.#registry.windows, 'window', 'tumbling("1m")')
    if (chosen === null) return null
    const { definition, plugin } = chosen
    const place = `${this.#root}.window`
    const options = this.#options(plugin.options, definition.options, 'window')
    if (options === null) return null
    const slicing = plugin.slicing(options as never, place, this.#faults)
    if (slicing === undefined) return null
    const { sizeMs, everyMs, sliceMs } = slicing
    return { kind: definition.kind, options, sizeMs, everyMs, sliceMs }
  }

  #aggregates(written: unknown): AggregatePlan[] | null {
    const remedy = 'Write an object of aggregates by name, such as { latency: mean(), n: count() }.'
    if (typeof written !== 'object' || written === null || Array.isArray(written)) {
      this.#fault('window', written, 'has no aggregates', remedy)
      return null
    }
    const entries = Object.entries(written)
    if (entries.length === 0) this.#fault('window', written, 'has no aggregates', remedy)
    this.#bounded(entries.length, 'window')
    const plans: AggregatePlan[] = []
    const names = new Set<string>()
    for (const [name, aggregate] of entries) {
      const path = `window.${name}`
      if (!COLUMN_PATTERN.test(name)) this.#fault(path, name, 'is not a column name', COLUMN_REMEDY)
      // Names reach files, tables and metrics that ignore case.
      if (names.has(name.toLowerCase()))
        this.#fault(path, name, 'is named twice', 'Name each aggregate differently.')
      names.add(name.toLowerCase())
      const chosen = this.#choice(aggregate, 'aggregate', this.#registry.aggregates, path, 'mean()')
      const options =
        chosen === null ? null : this.#options(chosen.plugin.options, chosen.definition.options, path)
      plans.push({ name, kind: chosen?.definition.kind ?? '', options })
    }
    return plans
  }

  #detectors(aggregates: readonly AggregatePlan[] | null): DetectorPlan[] {
    const written = this.#written.detectors
    this.#bounded(written.length, 'detect')
    const columns = aggregates?.map((aggregate) => aggregate.name) ?? []
    const names = new Set<string>()
    return written.map(({ column: judges, detector, name: given, hold, alert: asked }, i) => {
      const judged = judgedOf(judges)
      const { column } = judged
      const definition = definitionOf(detector, 'detector')
      const named = judged.columns ?? [column]
      const name = given ?? [...named, definition?.kind ?? i].filter((part) => part !== null).join('-')
      const path = `detect(${String(name)})`
      const above = [...names]
      this.#unique(name, names, path, '.detect(…, { name: "…" })')
      const alert = compileAlert(asked, {
        place: `${this.#root}.${path}`,
        faults: this.#faults,
        above,
        subject: column === null && judged.columns === null ? 'silence' : 'value',
      })
      const plan = {
        name: String(name),
        kind: definition?.kind ?? '',
        column,
        ...(judged.columns === null ? {} : { columns: judged.columns }),
        options: null as unknown,
        holdMs: this.#duration(HOLD, hold ?? 0, `${path}.hold`),
        ...(alert === undefined ? {} : { alert }),
      }
      const known = aggregates === null ? null : columns
      this.#faults.push(...unknownColumns(judged, known, `${this.#root}.${path}`))
      if (definition === null) {
        this.#fault(path, detector, 'is not a detector', 'Write one such as .detect("latency", ewma()).')
        return plan
      }
      const own =
        definition.plugin === undefined
          ? null
          : ownDetector(definition.plugin, this.#registry.detectors, `${this.#root}.${path}`, this.#faults)
      if (own === null && definition.plugin !== undefined) return plan
      const plugin = own ?? this.#registry.detectors.get(definition.kind)
      if (plugin === undefined) {
        this.#fault(
          path,
          definition.kind,
          'is no known detector',
          knownRemedy(definition.kind, this.#registry.detectors.keys()),
        )
        return plan
      }
      const wrong = subjectFault(plugin.subject, definition.kind, judged, columns, `${this.#root}.${path}`)
      if (wrong !== null) this.#faults.push(wrong)
      const options = this.#options(plugin.options, definition.options, path)
      if (own !== null) return { ...plan, options, version: own.version }
      const { cellsVersion = 1 } = plugin
      return { ...plan, options, ...(cellsVersion === 1 ? {} : { cellsVersion }) }
    })
  }

  #sinks(detects: boolean): SinkPlan[] {
    const written = this.#written.sinks
    this.#bounded(written.length, 'to')
    const names = new Set<string>()
    return written.map(({ sink, of, name: given }, i) => {
      const name = given ?? definitionOf(sink, 'sink')?.kind ?? i
      const path = `to(${String(name)})`
      this.#unique(name, names, path, '.to(…, { name: "…" })')
      const feed = of ?? (detects ? 'alerts' : 'results')
      if (!FEEDS.includes(feed))
        this.#fault(`${path}.of`, of, 'is nothing a sink can get', `Write one of ${FEEDS.join(', ')}.`)
      if (feed === 'alerts' && !detects) {
        this.#fault(
          `${path}.of`,
          of,
          'will never come: there is no detector',
          'Add .detect(…), or write { of: "results" }.',
        )
      }
      const chosen = this.#choice(sink, 'sink', this.#registry.sinks, path, 'stdout()')
      const taken = chosen?.plugin.feeds
      if (taken !== undefined && !taken.some((one) => one === feed)) {
        const remedy = `Give it { of: '${taken[0]}' }, or choose another sink for ${String(feed)}, such as webhook.`
        this.#fault(`${path}.of`, feed, `is nothing that ${chosen?.definition.kind} takes`, remedy)
      }
      const options =
        chosen === null ? null : this.#options(chosen.plugin.options, chosen.definition.options, path)
      return {
        name: String(name),
        kind: chosen?.definition.kind ?? '',
        options,
        feed: feed as SinkPlan['feed'],
      }
    })
  }

  #unique(name: unknown, names: Set<string>, path: string, how: string): void {
    this.#name(name, path)
    if (names.has(String(name))) this.#fault(path, name, 'is named twice', `Name them: ${how}.`)
    names.add(String(name))
  }

  #choice<W extends 'window' | 'aggregate' | 'sink', P>(
    written: unknown,
    what: W,
    plugins: ReadonlyMap<string, P>,
    path: string,
    example: string,
  ): { readonly definition: ChoiceDefinition<W>; readonly plugin: P } | null {
    const definition = definitionOf(written, what) as ChoiceDefinition<W> | null
    if (definition === null) {
      const article = what === 'aggregate' ? 'an' : 'a'
      this.#fault(path, written, `is not ${article} ${what}`, `Write one such as ${example}.`)
      return null
    }
    const plugin = plugins.get(definition.kind)
    if (plugin === undefined) {
      this.#fault(path, definition.kind, `is no known ${what}`, knownRemedy(definition.kind, plugins.keys()))
      return null
    }
    return { definition, plugin }
  }

  #options(spec: OptionSpec<unknown>, written: unknown, path: string): unknown {
    return spec.parse(written, `${this.#root}.${path}`, this.#faults) ?? null
  }
}
