/** docs/guide/troubleshooting.md has every error code, and none that there is not. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ERROR_CODES } from './errors.ts'

test('the page on troubleshooting has a section for each error code', () => {
  const page = readFileSync('docs/guide/troubleshooting.md', 'utf8')
  const sections = [...page.matchAll(/^### ([A-Z_]+)$/gm)].map(([, code]) => code)
  expect(sections.sort()).toEqual([...ERROR_CODES].sort())
})
