/** `import 'millrace/testing/vitest'`: the matchers, known to vitest and to its types. */
import { expect } from 'vitest'
import { type MillraceMatchers, millraceMatchers } from './matchers.ts'

expect.extend(millraceMatchers)

declare module 'vitest' {
  // biome-ignore lint/suspicious/noExplicitAny: vitest's own declaration, which this one must repeat.
  interface Matchers<T = any> extends MillraceMatchers<T> {}
}
