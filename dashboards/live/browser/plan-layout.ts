/**
 * A plan as boxes and arrows: columns from topic to sinks, or rows where it is narrow. Pure: what is in a box at any
 * moment is the view's business (plan-graph.ts).
 */
import type { LabelMatcher, PipelinePlan } from '../../../engine/contract/plan.ts'
import { span } from './format.ts'

export type Stage = 'topic' | 'route' | 'window' | 'detect' | 'out' | 'sink'

export interface Box {
  readonly id: string
  readonly stage: Stage
  readonly title: string
  readonly about: string
  readonly x: number
  readonly y: number
}

export interface Arrow {
  readonly from: string
  readonly to: string
  /** What flows: decides how it is drawn. */
  readonly carries: 'samples' | 'kept' | 'results' | 'alerts'
  readonly path: string
}

export interface Layout {
  readonly width: number
  readonly height: number
  readonly boxes: readonly Box[]
  readonly arrows: readonly Arrow[]
}

export const BOX_WIDTH = 172
export const BOX_HEIGHT = 74
const GAP_MIN = 38
const GAP_MAX = 96
const GAP_ACROSS = 14
const BORDER = 2
const TEXT_MAX = 27

interface Placed {
  readonly id: string
  readonly stage: Stage
  readonly title: string
  readonly about: string
}

/** `room`: the width there is, which the arrows take up within reason; null: from top to bottom. */
export function layoutPlan(plan: PipelinePlan, room: number | null): Layout {
  const vertical = room === null
  const columns = stagesOf(plan)
  const free = room === null ? 0 : (room - 2 * BORDER - columns.length * BOX_WIDTH) / (columns.length - 1)
  const gap = Math.floor(Math.min(GAP_MAX, Math.max(GAP_MIN, free)))
  const along = vertical ? BOX_HEIGHT : BOX_WIDTH
  const across = vertical ? BOX_WIDTH : BOX_HEIGHT
  const longest = Math.max(...columns.map((column) => column.length))
  const breadth = longest * across + (longest - 1) * GAP_ACROSS
  const boxes = columns.flatMap((column, at) => {
    const taken = column.length * across + (column.length - 1) * GAP_ACROSS
    return column.map((box, i): Box => {
      const main = BORDER + at * (along + gap)
      const side = BORDER + (breadth - taken) / 2 + i * (across + GAP_ACROSS)
      return vertical ? { ...box, x: side, y: main } : { ...box, x: main, y: side }
    })
  })
  const length = columns.length * along + (columns.length - 1) * gap + 2 * BORDER
  const by = new Map(boxes.map((box) => [box.id, box]))
  return {
    width: vertical ? breadth + 2 * BORDER : length,
    height: vertical ? length : breadth + 2 * BORDER,
    boxes,
    arrows: flowsOf(plan).map((flow) => ({
      ...flow,
      path: pathBetween(by.get(flow.from)!, by.get(flow.to)!, vertical, gap),
    })),
  }
}

function stagesOf(plan: PipelinePlan): Placed[][] {
  const { topic, window, aggregates, detectors, sinks } = plan
  const grouped = plan.groupBy === null ? 'a series each' : `by ${plan.groupBy.join(', ') || 'nothing'}`
  const filter = plan.where.map(matcherText).join(' ')
  const partitions = `${topic.partitions} partition${topic.partitions === 1 ? '' : 's'}`
  const size = span(window.sizeMs)
  const columns: Placed[][] = [
    [{ id: 'topic', stage: 'topic', title: topic.name, about: `topic, ${partitions}` }],
    [{ id: 'route', stage: 'route', title: grouped, about: cut(filter === '' ? 'all samples' : filter) }],
    [
      {
        id: 'window',
        stage: 'window',
        title:
          window.sizeMs === window.everyMs
            ? `${window.kind} ${size}`
            : `${window.kind} ${size}, every ${span(window.everyMs)}`,
        about: cut(aggregates.map(({ name }) => name).join(', ')),
      },
    ],
    detectors.map(({ name, kind, column, holdMs }) => ({
      id: `detect ${name}`,
      stage: 'detect' as const,
      title: name === kind ? kind : `${name}: ${kind}`,
      about: cut(
        `${column === null ? 'arrivals' : `of ${column}`}${holdMs > 0 ? `, hold ${span(holdMs)}` : ''}`,
      ),
    })),
    [
      { id: 'results', stage: 'out', title: 'results', about: 'committed' },
      ...(detectors.length > 0
        ? [{ id: 'alerts', stage: 'out' as const, title: 'alerts', about: 'as they stand' }]
        : []),
    ],
    sinks.map(({ name, kind, feed }) => ({
      id: `sink ${name}`,
      stage: 'sink' as const,
      title: name,
      about: name === kind ? feed : `${kind}, ${feed}`,
    })),
  ]
  return columns.filter((column) => column.length > 0)
}

function flowsOf({ detectors, sinks }: PipelinePlan): Omit<Arrow, 'path'>[] {
  const flows: Omit<Arrow, 'path'>[] = [
    { from: 'topic', to: 'route', carries: 'samples' },
    { from: 'route', to: 'window', carries: 'kept' },
  ]
  for (const { name } of detectors) {
    flows.push({ from: 'window', to: `detect ${name}`, carries: 'results' })
    flows.push({ from: `detect ${name}`, to: 'alerts', carries: 'alerts' })
  }
  const judging = detectors.find(({ column }) => column !== null)
  flows.push({
    from: judging === undefined ? 'window' : `detect ${judging.name}`,
    to: 'results',
    carries: 'results',
  })
  for (const { name, feed } of sinks) {
    // Late samples are results of a kind: they leave where results do.
    const from = feed === 'alerts' && detectors.length > 0 ? 'alerts' : 'results'
    flows.push({ from, to: `sink ${name}`, carries: feed === 'alerts' ? 'alerts' : 'results' })
  }
  return flows
}

/** One that passes by a stage leaves it aside: it turns before, and goes on straight. */
function pathBetween(from: Box, to: Box, vertical: boolean, gap: number): string {
  const x1 = vertical ? from.x + BOX_WIDTH / 2 : from.x + BOX_WIDTH
  const y1 = vertical ? from.y + BOX_HEIGHT : from.y + BOX_HEIGHT / 2
  const x2 = vertical ? to.x + BOX_WIDTH / 2 : to.x
  const y2 = vertical ? to.y : to.y + BOX_HEIGHT / 2
  const bend = gap / 2
  return vertical
    ? `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y1 + bend} ${x2} ${y1 + gap}L${x2} ${y2}`
    : `M${x1} ${y1}C${x1 + bend} ${y1} ${x1 + bend} ${y2} ${x1 + gap} ${y2}L${x2} ${y2}`
}

function matcherText({ label, op, value }: LabelMatcher): string {
  const name = label === '__name__' ? '' : label
  const text = typeof value === 'string' ? value : value.join(' | ')
  return `${name}${op === 'in' || (op === '=' && name === '') ? (name === '' ? '' : '=') : op}${text}`
}

function cut(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX - 1)}…` : text
}
