/** What changes something on the node: asked by buttons (feedback.ts, silences.ts), which show what it answers. */

interface Refusal {
  readonly error?: string
  readonly faults?: readonly { readonly problem: string; readonly remedy: string }[]
}

/** The answer's JSON; an Error says in words of the node why nothing was changed. */
export async function tell<T>(method: 'POST' | 'DELETE', path: string, body?: object): Promise<T> {
  const sent =
    body === undefined ? {} : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
  const answer = await fetch(path, { method, ...sent })
  const told: unknown = await answer.json()
  if (answer.ok) return told as T
  const { error, faults } = told as Refusal
  const [fault] = faults ?? []
  const why = fault === undefined ? undefined : `Nothing was changed: this ${fault.problem}. ${fault.remedy}`
  throw new Error(why ?? error ?? `status ${answer.status}`)
}

export function failureText(error: unknown): string {
  return error instanceof Error ? error.message : 'No answer: nothing was changed.'
}
