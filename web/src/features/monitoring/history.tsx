"use client";

import dynamic from "next/dynamic";
import { useEffect, useRef, useState } from "react";

export const EVERY_MS = 2000;
const KEPT = 150; // five minutes

interface Point {
  at: number;
  value: number;
}

export const Sparkline = dynamic(() => import("@/ui/chart").then((charts) => charts.Sparkline), {
  ssr: false,
  loading: () => <div className="h-12" />,
});

/** The last five minutes of a value, from when the page was opened. */
export function useHistory(value: number | undefined, at: string | undefined): Point[] {
  const points = useRef<Point[]>([]);
  const [, redraw] = useState(0);
  useEffect(() => {
    if (value === undefined || !at) return;
    const moment = Date.parse(at);
    if ((points.current.at(-1)?.at ?? 0) >= moment) return;
    points.current = [...points.current.slice(1 - KEPT), { at: moment, value }];
    redraw((count) => count + 1);
  }, [value, at]);
  return points.current;
}
