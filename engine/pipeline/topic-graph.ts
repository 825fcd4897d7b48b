/** Pipelines read topics and some of their sinks write topics; a cycle would feed itself for ever. */
export interface TopicEdge {
  readonly from: string
  readonly to: string
  /** Who leads from one to the other: the pipeline. */
  readonly via: string
}

/**
 * The cycles of the graph, each once, as the edges that close it. Depth first over at most all edges; edges are followed in the
 * order given, so the answer is the same for the same declaration.
 */
export function topicCycles(edges: readonly TopicEdge[]): readonly (readonly TopicEdge[])[] {
  const edgesFrom = new Map<string, TopicEdge[]>()
  for (const edge of edges) {
    const known = edgesFrom.get(edge.from)
    if (known === undefined) edgesFrom.set(edge.from, [edge])
    else known.push(edge)
  }
  const cycles: TopicEdge[][] = []
  const finished = new Set<string>()
  for (const start of edgesFrom.keys()) {
    if (finished.has(start)) continue
    // An explicit stack: the graph is as deep as a person can declare.
    const path: { readonly topic: string; next: number }[] = [{ topic: start, next: 0 }]
    const walked: TopicEdge[] = []
    while (path.length > 0) {
      const here = path[path.length - 1]!
      const edge = edgesFrom.get(here.topic)?.[here.next++]
      if (edge === undefined) {
        finished.add(here.topic)
        path.pop()
        walked.pop()
        continue
      }
      const depth = path.findIndex((step) => step.topic === edge.to)
      if (depth >= 0) cycles.push([...walked.slice(depth), edge])
      else if (!finished.has(edge.to)) {
        path.push({ topic: edge.to, next: 0 })
        walked.push(edge)
      }
    }
  }
  return cycles
}

/** `a → (p1) → b → (p2) → a` */
export function cycleText(cycle: readonly TopicEdge[]): string {
  return [cycle[0]!.from, ...cycle.flatMap((edge) => [`(${edge.via})`, edge.to])].join(' → ')
}
