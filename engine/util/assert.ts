/** Programmer errors stop the thread. On in production: a wrong answer costs more than a branch. */
export class AssertionFailed extends Error {
  override readonly name = 'AssertionFailed'
}

export function assert(
  condition: boolean,
  message: string,
  ...values: readonly unknown[]
): asserts condition {
  if (!condition) fail(message, values)
}

function fail(message: string, values: readonly unknown[]): never {
  throw new AssertionFailed(values.length === 0 ? message : `${message} [${values.map(String).join(', ')}]`)
}
