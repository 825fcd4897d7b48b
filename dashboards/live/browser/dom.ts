/** The few ways in which the page makes elements. Text goes in as text, so that labels from samples are never markup. */

export type Content = string | Node | null

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...content: readonly Content[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  if (className !== '') element.className = className
  for (const part of content) if (part !== null) element.append(part)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'

export function makeSvg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number>> = {},
  ...content: readonly Content[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  for (const part of content) if (part !== null) element.append(part)
  return element
}

export function byId(id: string): HTMLElement {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`the page has no element ${id}`)
  return element
}

/** Writes only what changes: a text set anew costs a layout even where it stays the same. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** What is made anew takes the focus over from what stood for the same alert, by `data-alert`. */
export function keepFocus(draw: () => void): void {
  const { activeElement } = document
  const kept = activeElement instanceof HTMLElement ? activeElement.dataset.alert : undefined
  draw()
  if (kept !== undefined) document.querySelector<HTMLElement>(`[data-alert="${CSS.escape(kept)}"]`)?.focus()
}

export function setClass(element: Element, className: string): void {
  if (element.getAttribute('class') !== className) element.setAttribute('class', className)
}
